import pytest
import torch
from torch import nn

from bayessgd.chains import Chains
from bayessgd.likelihoods import LearnedScale
from bayessgd.starts import jittered_starts, reset_starts


def mlp():
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()


def convnet():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 4 * 4, 3)
    ).double()


def test_are_independent_and_depend_on_the_seed_and_the_index_alone():
    few, many, other = Chains(mlp(), 2, seed=1), Chains(mlp(), 5, seed=1), Chains(mlp(), 2, seed=2)
    for (_, a), (_, b), (_, c) in zip(
        few.named_parameters(), many.named_parameters(), other.named_parameters(), strict=True
    ):
        assert torch.equal(a, b[:2])
        assert len(torch.unique(torch.cat([b, c]), dim=0)) == 7  # no chain of one seed is a chain of another


def test_are_the_initialisation_of_the_layers():
    """nn.Linear: uniform on ±1/√fan_in, so variance 1/(3·fan_in) and, for the error, kurtosis 1.8."""
    chains = Chains(nn.Linear(16, 8), 500)
    weight = dict(chains.named_parameters())["weight"].detach()
    n, variance = weight.numel(), 1 / (3 * 16)
    assert float(weight.abs().max()) <= 0.25
    assert abs(float(weight.square().mean()) / variance - 1) < 5 * (0.8 / n) ** 0.5


def test_parents_have_the_last_word():
    """MultiheadAttention sets its projection's bias to 0 after the projection has drawn one."""
    chains = Chains(nn.MultiheadAttention(4, 2), 2)
    bias = dict(chains.named_parameters())["out_proj.bias"]
    assert torch.equal(bias.detach(), torch.zeros(2, 4))


def test_jitter_has_its_standard_deviation():
    model = nn.Linear(20, 30).double()
    chains = Chains(model, 40, jitter=0.3)
    for name, p in chains.named_parameters():
        noise = (p - model.get_parameter(name)).detach()
        assert abs(float(noise.square().mean()) / 0.09 - 1) < 5 * (2 / noise.numel()) ** 0.5


def test_no_jitter_is_copies():
    model = convnet()
    chains = Chains(model, 2, jitter=0.0)
    for i in range(2):
        copied = chains.chain(i).state_dict()
        assert all(torch.equal(copied[name], value) for name, value in model.state_dict().items())


def test_leave_the_model_and_the_global_seed_alone():
    model = mlp()
    values, before = [p.detach().clone() for p in model.parameters()], torch.random.get_rng_state()
    chains = Chains(model, 2)
    for p in chains.parameters():
        p.data.fill_(9.0)
    assert all(torch.equal(p, v) for p, v in zip(model.parameters(), values, strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_frozen_parameters_stay_shared_and_their_statistics_too():
    model = convnet()
    model[0].requires_grad_(False)
    model[1].requires_grad_(False)
    model[1].running_mean.fill_(2.0)
    chains = Chains(model, 2)
    assert [name for name, _ in chains.named_parameters()] == ["3.weight", "3.bias"]
    torch.testing.assert_close(chains.chain(1)[0].weight, model[0].weight)
    assert bool((dict(chains.named_buffers())["1.running_mean"] == 2.0).all())


def test_refuses_parameters_that_nothing_resets():
    with pytest.raises(ValueError, match="ParameterList at '' has parameters and no reset_parameters"):
        reset_starts(nn.ParameterList([torch.ones(2)]), 2, seed=0)


def test_refuses_a_negative_jitter():
    with pytest.raises(ValueError, match=r"jitter must be finite and at least 0, got -1\.0"):
        jittered_starts(mlp(), 2, seed=0, scale=-1.0)


def test_a_learned_noise_starts_where_it_was_set():
    net = LearnedScale(nn.Linear(2, 1), scale=0.3)
    net.log_scale.data.fill_(5.0)
    first, second = reset_starts(net, 2, seed=0)
    torch.testing.assert_close(first["log_scale"].exp(), torch.tensor([0.3]))
    assert not torch.equal(first["model.weight"], second["model.weight"])


class Adapted(nn.Linear):
    """A layer whose inherited `reset_parameters` knows nothing of what was added."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.adapter = nn.Parameter(torch.randn(2))


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize(
    ("layer", "left"),
    [
        (lambda: Adapted(2, 1), "adapter"),
        (lambda: nn.utils.weight_norm(nn.Linear(2, 1)), "weight_g', 'weight_v"),
    ],
)
def test_parameters_that_no_reset_writes_to_are_refused_and_jitter_moves_them(layer, left):
    net = layer()
    with pytest.raises(
        ValueError, match=rf"its reset_parameters leave \['{left}'\] as they are.*pass jitter="
    ):
        reset_starts(net, 2, seed=0)
    one, other = jittered_starts(net, 2, seed=0, scale=0.1)
    assert all(not torch.equal(one[name], other[name]) for name, _ in net.named_parameters())


class Old(nn.Module):
    """A layer in the manner of before `torch.no_grad`."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2))
        self.reset_parameters()

    def reset_parameters(self):
        self.weight.data.normal_()


def test_a_reset_through_data_counts():
    first, second = reset_starts(Old(), 2, seed=0)
    assert bool((first["weight"] != second["weight"]).all())
