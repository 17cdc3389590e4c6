import math

import pytest
import torch
from torch import nn

from bayessgd import predict, snapshots
from bayessgd.likelihoods import Categorical, Gaussian
from bayessgd.posteriors import Ensemble
from bayessgd.priors import FlatPrior, GaussianPrior
from metrics.chains import monte_carlo_error

D, N = 3, 100


def regression():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(N, D, generator=random, dtype=torch.float64)
    y = x.sum(1, keepdim=True) + torch.randn(N, 1, generator=random, dtype=torch.float64)
    net = nn.Linear(D, 1, bias=False).double()
    precision = x.T @ x + 5 * torch.eye(D, dtype=torch.float64)
    mean = torch.linalg.solve(precision, x.T @ y)[:, 0]
    with torch.no_grad():
        net.weight.copy_(mean)
    return net, x, y, mean, torch.linalg.inv(precision)


LAWS = {"likelihood": Gaussian(1.0), "prior": GaussianPrior(5.0)}


def run(net, x, y, **changes):
    settings = {
        "lr": 0.01,
        "batch_size": N,
        "passes": 60,
        "num_chains": 50,
        "num_draws": 50,
        "progress": False,
    }
    return snapshots(net, x, y, **{**LAWS, **settings, **changes})


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_the_draws_are_of_the_posterior_at_their_temperature(temperature):
    # Each chain starts at the mode and forgets it in 25 steps at T = 1; draws of other chains are independent.
    net, x, y, mean, cov = regression()
    found = run(
        net, x, y, temperature=temperature, lr=0.004 * temperature**0.5, passes=300, num_draws=1000, seed=1
    )
    draws = found.by_chain()["weight"][:, :, 0]
    assert bool(((draws.mean((0, 1)) - mean).abs() < 5 * monte_carlo_error(draws)).all())
    squares = (draws - mean).square()
    ratio = squares.mean((0, 1)) / (temperature * cov.diagonal())
    error = monte_carlo_error(squares) / squares.mean((0, 1))
    # The batches' heat is that of the kinetic temperature, a few per cent here.
    heat = found.origin["kinetic"]["value"]
    assert 1 < heat < 1.1
    assert bool(((ratio - 1).abs() < 5 * error + 2 * (heat - 1)).all())
    assert bool((error < 0.15).all())


@pytest.mark.usefixtures("unchecked")
def test_both_temperatures_are_one_where_the_target_is_known():
    net, x, y, _, _ = regression()
    found = run(net, x, y, lr=0.002, passes=300, num_chains=100, num_draws=1000, seed=3).origin
    for name in ("virial", "kinetic"):
        value, stderr = found[name]["value"], found[name]["stderr"]
        assert abs(value - 1) < 4 * stderr + 0.03, name  # batch noise heats by 1 to 3 %
        assert stderr < 0.05
        assert found[name]["layers"]["weight"]["value"] == pytest.approx(value)
    assert found["equilibrium"] is True
    assert found["said"] is None


@pytest.mark.usefixtures("unchecked")
def test_a_run_that_is_too_short_is_not_at_equilibrium_and_says_so():
    # Far from the prior's width along weights that the data say nothing about: they start at 0 and have not moved.
    net = nn.Linear(20, 1, bias=False)
    nn.init.zeros_(net.weight)
    x, y = torch.zeros(20, 20), torch.zeros(20, 1)
    laws = {"likelihood": Gaussian(1.0), "prior": GaussianPrior(1.0)}
    settings = {"lr": 0.05, "batch_size": 10, "num_chains": 4, "num_draws": 16, "progress": False}
    with pytest.warns(UserWarning, match=r"not at equilibrium: the virial is .* here 20 passes .* to forget"):
        found = snapshots(net, x, y, **laws, **settings, passes=4)
    assert found.origin["equilibrium"] is False
    assert found.origin["virial"]["value"] < 0.8
    # The remedy: four times as long as a weight needs to forget, which is the default.
    longer = snapshots(net, x, y, **laws, **settings)
    assert longer.origin["passes"] == pytest.approx(80)
    assert longer.origin["equilibrium"] is True


@pytest.mark.usefixtures("unchecked")
def test_batches_hotter_than_the_target_are_told():
    net, x, y, _, _ = regression()
    with pytest.warns(UserWarning, match=r"the kinetic temperature is .* halve lr or enlarge the batch"):
        found = run(net, x, y, lr=0.03, batch_size=5, passes=10)
    assert found.origin["kinetic"]["value"] > 1.25


def test_starts_are_where_the_chains_begin():
    net, x, y, _, _ = regression()
    starts = Ensemble({"weight": torch.tensor([[[9.0, 0, 0]], [[-9.0, 0, 0]]], dtype=torch.float64)})
    with pytest.warns(UserWarning, match="not at equilibrium"):
        found = run(net, x, y, starts=starts, passes=4, burn_in=0.0, num_draws=8)
    first = found.by_chain()["weight"][:, 0, 0, 0]
    assert found.chains == 2
    assert first[0] > 8
    assert first[1] < -8


def test_a_seed_gives_the_same_bits_and_nothing_of_the_users_moves():
    net, x, y, mean, _ = regression()
    state = torch.get_rng_state()
    one, two, other = (run(net, x, y, seed=seed).draws["weight"] for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(net.weight[0].detach(), mean)
    assert net.weight.grad is None


@pytest.mark.usefixtures("unchecked")
def test_cycles_sample_at_the_end_of_each_and_have_the_posteriors_width():
    net, x, y, mean, cov = regression()
    found = run(net, x, y, lr=0.2, num_cycles=2, passes=400, num_draws=1000)
    draws = found.draws["weight"][:, 0]
    assert found.origin["settings"]["cycles"] == 2
    ratio = draws.var(0) / cov.diagonal()
    # At least a draw a chain and cycle is independent: a hundred, whose variance has an error of 14 %.
    assert bool(((ratio - 1).abs() < 0.45).all())
    assert bool(((draws.mean(0) - mean).abs() < 0.4 * cov.diagonal().sqrt()).all())


def test_several_layers_and_classes():
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 4, generator=random), torch.randint(3, (60,), generator=random)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    found = snapshots(
        net,
        x,
        y,
        likelihood=Categorical(),
        prior=GaussianPrior({"0.weight": 5.0, "0.bias": 5.0, "2.weight": 4.0, "2.bias": 8.0}),
        lr=0.04,
        batch_size=30,
        num_chains=3,
        num_draws=61,
        progress=False,
    )
    assert {name: list(t.shape) for name, t in found.draws.items()} == {
        "0.weight": [63, 5, 4],
        "0.bias": [63, 5],
        "2.weight": [63, 3, 5],
        "2.bias": [63, 3],
    }
    # (1 − m)·S/(lr·τ) passes with the least precision, four times.
    assert found.origin["passes"] == pytest.approx(4 * 0.1 * 30 / (0.04 * 4))
    assert list(found.origin["virial"]["layers"]) == list(found.draws)


def test_a_result_goes_into_a_file(tmp_path):
    net, x, y, _, _ = regression()
    found = run(net, x, y)
    found.save(tmp_path / "draws.safetensors")
    from bayessgd import load

    assert load(tmp_path / "draws.safetensors").origin == found.origin


def test_refused_where_the_chain_diverges():
    net, x, y, _, _ = regression()
    with pytest.raises(ValueError, match=r"left the finite numbers by step .* halve lr"):
        run(net, x, y, lr=50.0, passes=200)


def test_refused_without_a_length_and_the_remedy_arrives():
    net, x, y, _, _ = regression()
    with pytest.raises(ValueError, match="passes must be given, for FlatPrior names no precision"):
        run(net, x, y, prior=FlatPrior(), passes=None)
    assert math.isfinite(float(run(net, x, y, prior=FlatPrior(), passes=100).mean["weight"].sum()))


def test_dropout_is_off_while_it_samples():
    net, x, y, _, _ = regression()
    dropped = nn.Sequential(net, nn.Dropout(0.9)).train()
    plain, other = (run(each, x, y) for each in (net, dropped))
    assert torch.equal(plain.draws["weight"], other.draws["0.weight"])
    assert dropped[1].training


def test_refused_with_more_draws_than_steps_and_the_remedy_arrives():
    net, x, y, _, _ = regression()
    with pytest.raises(
        ValueError, match="num_draws must be at most the 6 steps of a chain after burn-in, got 20"
    ):
        run(net, x, y, passes=9, num_draws=1000)
    assert len(run(net, x, y, num_draws=1000)) == 1000


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lr": 0}, ValueError, "lr must be"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"num_draws": 0}, ValueError, "num_draws must be at least 1"),
        ({"num_chains": 0}, ValueError, "num_chains must be at least 1"),
        ({"burn_in": 1.0}, ValueError, r"burn_in must be a share of the run in \[0, 1\), got 1.0"),
        ({"temperature": 0}, ValueError, "temperature must be"),
        ({"momentum": 1.0}, ValueError, r"momentum must be in \[0, 1\)"),
        ({"passes": -1}, ValueError, "passes must be"),
        ({"num_cycles": 0}, ValueError, "num_cycles must be at least 1"),
        ({"starts": 3}, TypeError, "starts must be an Ensemble, got int"),
        ({"starts": Ensemble({"weight": torch.zeros(2, 1, 9)})}, ValueError, "it is of another network"),
        ({"prior": 3}, TypeError, "prior must be one of"),
    ],
)
def test_refusals(change, error, message):
    net, x, y, _, _ = regression()
    with pytest.raises(error, match=message):
        run(net, x, y, **change)


def test_a_compiled_layer_starts_where_starts_say_and_predicts():
    net = nn.Sequential(torch.compile(nn.Linear(2, 1), backend="eager"))
    x, starts = (
        torch.randn(8, 2),
        Ensemble({"0.weight": torch.full((2, 1, 2), 7.0), "0.bias": torch.zeros(2, 1)}),
    )
    with pytest.warns(UserWarning, match="not at equilibrium"):
        found = run(net, x, x[:, :1], starts=starts, lr=1e-9, passes=20, batch_size=8, num_draws=2)
    torch.testing.assert_close(found.draws["0.weight"], starts.draws["0.weight"], atol=1e-2, rtol=0)
    assert predict(net, found, x).shape == (2, 8, 1)
