import copy
import math

import pytest
import torch
from torch import nn

from bayessgd.params import flatten
from bayessgd.posteriors import Ensemble, load


def make(generator, dtype=torch.float64, m=6):
    shapes = {"w": (2, 3), "b": (2,), "s": ()}
    return Ensemble(
        {k: torch.randn((m, *shape), dtype=dtype, generator=generator) for k, shape in shapes.items()}
    )


def test_the_mean_is_that_of_the_draws(dtype, gen):
    law = make(gen, dtype, m=130)
    for name, draws in law.draws.items():
        torch.testing.assert_close(law.mean[name], draws.double().mean(0).to(dtype), rtol=1e-6, atol=1e-7)
        assert law.mean[name].dtype == dtype


@pytest.mark.parametrize("n", [1, 3, 6, 12, 100])
def test_a_sample_is_of_whole_networks(n, gen):
    law = make(gen)
    rows = flatten(law.draws, law.mean)
    sampled = flatten(law.sample(n, generator=gen), law.mean)
    which = (sampled[:, None] == rows).all(-1)
    assert sampled.shape == (n, 9)
    assert bool((which.sum(1) == 1).all())
    assert bool(((which.double().sum(0) - n / 6).abs() < 1).all())


def test_as_many_draws_as_it_has_are_its_draws_in_order(gen):
    # So a bank of draws, kept as an Ensemble, is the same functions in every call of predict.
    law = make(gen)
    for _ in range(5):
        assert torch.equal(flatten(law.sample(6), law.mean), flatten(law.draws, law.mean))


def test_every_draw_is_equally_likely(gen):
    law = make(gen, m=4)
    rows = law.draws["s"]
    n = 4000
    seen = torch.cat([law.sample(1, generator=gen)["s"] for _ in range(n)])
    share = (seen[:, None] == rows).double().mean(0)
    assert float((share - 0.25).abs().max()) < 4.5 * math.sqrt(0.25 * 0.75 / n)


def test_its_torch_distribution_has_its_moments(gen):
    law = make(gen)
    made = law.to_distribution()
    rows = flatten(law.draws, law.mean)
    assert torch.allclose(made.mean, rows.mean(0))
    assert torch.allclose(made.variance, rows.var(0, unbiased=False))
    assert made.sample((5,)).shape == (5, 9)


def test_sampling_leaves_the_draws_alone(gen):
    law = make(gen)
    before = law.draws["w"].clone()
    law.sample(6, generator=gen)["w"].zero_()
    assert torch.equal(law.draws["w"], before)


def test_to_moves_and_leaves_the_first(gen):
    law = make(gen)
    assert law.to(dtype=torch.float32, device="cpu").draws["w"].dtype == torch.float32
    assert law.draws["w"].dtype == torch.float64
    assert len(law) == 6


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Ensemble([torch.ones(2)]), TypeError, "draws must be a dict"),
        (lambda: Ensemble({"w": torch.ones(2).int()}), TypeError, "floating tensor, got torch.int32"),
        (lambda: Ensemble({"w": torch.tensor(1.0)}), ValueError, r"must have shape \[n, \.\.\.\], got \[\]"),
        (lambda: Ensemble({"w": torch.ones(2), "b": torch.ones(3)}), ValueError, "same number of draws"),
        (lambda: Ensemble({"w": torch.ones(0, 3)}), ValueError, "must not be empty"),
        (lambda: Ensemble({"w": torch.full((2,), math.nan)}), ValueError, "must be finite"),
        (lambda: Ensemble({"w": torch.ones(2)}).sample(0), ValueError, "n must be at least 1"),
        (
            lambda: Ensemble({"w": torch.ones(2)}).log_prob({"w": torch.tensor(1.0)}),
            NotImplementedError,
            "points has no density; fit a LowRankGaussian",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_chains_and_origin_are_kept(tmp_path):
    law = Ensemble({"w": torch.arange(6.0)[:, None]}, chains=2, origin={"sampler": "x", "cost": 3})
    law.save(tmp_path / "law.safetensors")
    for one in (law, load(tmp_path / "law.safetensors"), law.to(dtype=torch.float64)):
        assert one.by_chain()["w"][:, :, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert one.origin == {"sampler": "x", "cost": 3}


def test_chains_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="chains must divide the 3 draws, got 2"):
        Ensemble({"w": torch.zeros(3, 1)}, chains=2)


@pytest.mark.parametrize("saved", [False, True], ids=["network", "state dict"])
def test_one_network_is_an_ensemble_too(saved):
    net = torch.nn.BatchNorm1d(2)
    law = Ensemble.of_modules([net.state_dict() if saved else net])
    assert torch.equal(law.draws["weight"], net.weight.detach()[None])
    assert len(law) == 1


def test_draws_made_of_parameters_leave_their_graph():
    net = nn.Linear(2, 1)
    law = Ensemble({name: torch.stack([p, p]) for name, p in net.named_parameters()})
    assert not any(t.requires_grad for t in copy.deepcopy(law).draws.values())
    assert not any(t.requires_grad for t in law.sample(2).values())
