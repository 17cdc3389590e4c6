import copy

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel

import bayessgd
from bayessgd.collectors import SWAG, IterateAverage, Trajectory
from bayessgd.selection import matches, select
from tests.bayessgd.collectors.runs import network, train


class Adapted(nn.Module):
    """A backbone, a low-rank adapter beside it and a head, as PEFT builds them."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(2, 3)
        self.lora_A, self.lora_B = nn.Linear(2, 1, bias=False), nn.Linear(1, 3, bias=False)
        self.head = nn.Linear(3, 1)

    def forward(self, x):
        return self.head(torch.tanh(self.body(x) + self.lora_B(self.lora_A(x))))


NET = Adapted()


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        (None, list(dict(NET.named_parameters()))),
        (NET.head, ["head.weight", "head.bias"]),
        ("head", ["head.weight", "head.bias"]),
        ("*lora_*", ["lora_A.weight", "lora_B.weight"]),
        ("*bias", ["body.bias", "head.bias"]),
        (lambda name, p: p.ndim == 1, ["body.bias", "head.bias"]),
        (["*lora_*", NET.head], ["lora_A.weight", "lora_B.weight", "head.weight", "head.bias"]),
        ([NET.head, "*lora_*"], ["lora_A.weight", "lora_B.weight", "head.weight", "head.bias"]),
    ],
)
def test_what_a_selection_picks_in_the_networks_order(parameters, names):
    assert list(select(NET, parameters)) == names


def test_a_pattern_is_matched_by_whole_names():
    assert matches("head.weight", "head")
    assert not matches("heads.weight", "head")
    assert matches("body.0.weight", "body.0")


def test_wrapped_networks_have_the_bare_names():
    for wrapped in (torch.compile(NET, backend="eager"), DataParallel(NET)):
        assert (
            list(select(wrapped, "head")) == list(select(wrapped, NET.head)) == ["head.weight", "head.bias"]
        )


@pytest.mark.parametrize("kind", [SWAG, IterateAverage, Trajectory])
def test_the_posterior_of_a_part_is_the_part_of_the_posterior(kind):
    net = network()
    whole, part = kind(net), kind(net, parameters=net[2])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with whole.attach(optimizer), part.attach(optimizer):  # the rest was left out by choice: nothing is told
        train(net, optimizer, steps=6)
    assert list(part.posterior().mean) == ["2.weight", "2.bias"]
    for name, value in part.posterior().mean.items():
        assert torch.equal(value, whole.posterior().mean[name])


def test_draws_of_a_part_predict_through_the_whole_network():
    net = network()
    swag = SWAG(net, parameters=net[2])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with swag.attach(optimizer):
        train(net, optimizer, steps=6)
    posterior, x = swag.posterior(), torch.randn(5, 2, dtype=torch.float64)
    bank = bayessgd.Ensemble(posterior.sample(4, generator=torch.Generator().manual_seed(0)))
    found = bayessgd.predict(net, bank, x, num_samples=4)
    for i in range(4):
        other = copy.deepcopy(net)
        other.load_state_dict({name: t[i] for name, t in bank.draws.items()}, strict=False)
        torch.testing.assert_close(found[i], other(x).detach())


def test_a_part_costs_what_the_part_weighs():
    swag = SWAG(nn.Sequential(nn.Linear(1000, 100), nn.Linear(100, 1)), parameters="1", rank=2)
    swag.update()
    assert sum(t.numel() for t in swag.state_dict()["tensors"].values()) == 4 * 101


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ("tail.*", ValueError, "the pattern 'tail\\.\\*' picks none of"),
        (lambda name, p: False, ValueError, "the predicate picks none"),
        (nn.Linear(1, 1), ValueError, "must be a module of the model, got a Linear of another network"),
        (nn.Tanh(), ValueError, "of another network or without parameters"),
        (3, TypeError, "parameters must be a module, a name pattern, a predicate"),
        ([], TypeError, "None takes everything that trains"),
        ([3], TypeError, "must hold modules, name patterns or predicates, got int"),
    ],
)
def test_refusals(parameters, error, message):
    with pytest.raises(error, match=message):
        select(NET, parameters)


def test_a_frozen_part_is_refused_and_unfreezing_mends_it():
    net = Adapted()
    net.head.requires_grad_(False)
    with pytest.raises(ValueError, match=r"Linear picks none of .*requires_grad_\(True\) makes them one"):
        select(net, net.head)
    net.head.requires_grad_(True)
    assert list(select(net, net.head)) == ["head.weight", "head.bias"]
