import copy

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel

from bayessgd.collectors import SWAG, IterateAverage, Trajectory
from tests.bayessgd.collectors.runs import network, walk
from tests.bayessgd.collectors.test_collector import KINDS, same


@pytest.mark.parametrize("kind", list(KINDS))
def test_told_states_are_iterates(kind, tmp_path):
    net, other = network(), network()
    watched, told = KINDS[kind](net, tmp_path / "a"), KINDS[kind](other, tmp_path / "b")
    before = copy.deepcopy(other.state_dict())
    for _ in walk(net, steps=7):
        watched.update()
        told.update(net.state_dict())
    assert same(watched.posterior(), told.posterior())
    assert all(torch.equal(t, before[name]) for name, t in other.state_dict().items())


@pytest.mark.parametrize(
    "wrap", [lambda net: torch.compile(net, backend="eager"), DataParallel], ids=["compiled", "parallel"]
)
def test_prefixes_of_wrappers_are_taken_off(wrap):
    net = network()
    average = IterateAverage(net)
    average.update(wrap(net).state_dict())
    assert all(torch.equal(t, average.posterior().mean[name]) for name, t in net.state_dict().items())


def test_a_networks_own_child_called_module_keeps_its_name():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(1, 1)

    average = IterateAverage(Holder())
    average.update(Holder().state_dict())
    assert list(average.posterior().mean) == ["module.weight", "module.bias"]


def test_buffers_and_frozen_weights_are_let_pass():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    net[0].requires_grad_(False)
    average = IterateAverage(net)
    average.update(net.state_dict())
    assert list(average.posterior().mean) == ["1.weight", "1.bias", "2.weight", "2.bias"]


def test_either_name_of_a_tied_weight_will_do():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    average = IterateAverage(net)
    for name in ("0.weight", "1.weight"):
        average.update({name: torch.full((2, 2), 3.0)})
    assert torch.equal(average.posterior().mean["0.weight"], torch.full((2, 2), 3.0))


def test_a_half_precision_state_counts_in_the_networks_type():
    net = network(torch.float32)
    for collector in (SWAG(net), IterateAverage(net), Trajectory(net)):
        half = {name: t.bfloat16() for name, t in net.state_dict().items()}
        collector.update()
        collector.update(half)
        mean = collector.posterior().mean
        assert all(t.dtype == torch.float32 for t in mean.values())
        want = (net[0].weight.detach() + half["0.weight"].float()) / 2
        torch.testing.assert_close(mean["0.weight"], want)


def without(net, name):
    return {key: t for key, t in net.state_dict().items() if key != name}


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (lambda net: 3, TypeError, r"got int; pass model.state_dict\(\)"),
        (lambda net: without(net, "0.bias"), ValueError, r"missing \['0.bias'\], unknown \[\]"),
        (lambda net: {**net.state_dict(), "3.bias": torch.ones(1)}, ValueError, r"unknown \['3.bias'\]"),
        (
            lambda net: {**net.state_dict(), "0.bias": torch.ones(4)},
            ValueError,
            r"state\['0.bias'\] must have the shape \[3\] of the network's, got \[4\]",
        ),
        (
            lambda net: {**net.state_dict(), "0.bias": torch.ones(3).int()},
            TypeError,
            "must be a floating tensor",
        ),
        (
            lambda net: {**net.state_dict(), "0.bias": torch.full((3,), torch.nan)},
            ValueError,
            "must be finite, got NaN or infinity; the training had diverged",
        ),
    ],
)
def test_refusals(state, error, message):
    net = network()
    average = IterateAverage(net)
    with pytest.raises(error, match=message):
        average.update(state(net))
    assert average.num_updates == 0


def test_a_prefix_is_named_and_taking_it_off_is_right():
    net = network()
    prefixed = {f"body.net.{name}": t for name, t in net.state_dict().items()}
    average = IterateAverage(net)
    with pytest.raises(ValueError, match=r"take the prefix 'body\.net\.' off the names"):
        average.update(prefixed)
    average.update({name.removeprefix("body.net."): t for name, t in prefixed.items()})
    assert torch.equal(average.posterior().mean["0.bias"], net[0].bias.detach())
