"""What a collector collects where the network, or the mode of torch, is not what it was."""

import copy
import pickle

import pytest
import torch
from torch import nn

from bayessgd import SWAG, IterateAverage, Trajectory


def test_iterates_collected_inside_inference_mode_are_those_of_outside():
    net = nn.Linear(2, 1)
    inside, outside = SWAG(net, rank=2), SWAG(net, rank=2)
    for step in range(4):
        with torch.no_grad():
            net.weight += step
        outside.update()
        if step % 2:
            inside.update()
        else:
            with torch.inference_mode():
                inside.update()
    for a, b in zip(inside._tensors().values(), outside._tensors().values(), strict=True):
        assert torch.equal(a, b)
        assert not a.is_inference()


def replaced(net):
    net.load_state_dict({"weight": torch.ones(1, 2), "bias": torch.ones(1)}, assign=True)


def parametrised(net):
    nn.utils.parametrizations.weight_norm(net)


@pytest.mark.parametrize("kind", [SWAG, IterateAverage, Trajectory])
@pytest.mark.parametrize("change", [replaced, parametrised])
def test_a_network_whose_parameters_were_replaced_is_refused(kind, change):
    net = nn.Linear(2, 1)
    collector = kind(net)
    collector.update()
    change(net)
    with pytest.raises(ValueError, match=r"was replaced since, .*make the collector after it"):
        collector.update()
    assert collector.num_updates == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.double(),
        lambda net: net.load_state_dict({"weight": torch.ones(1, 2), "bias": torch.ones(1)}),
        lambda net: torch.compile(net, backend="eager"),
        lambda net: net.zero_grad(set_to_none=True),
    ],
    ids=["double", "load", "compile", "zero"],
)
def test_a_network_that_is_changed_in_place_is_collected_on(change):
    net = nn.Linear(2, 1)
    collector = SWAG(net)
    collector.update()
    kept = change(net)
    collector.update()
    assert collector.num_updates == 2
    del kept


def test_a_new_layer_is_refused_and_another_activation_is_not():
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), nn.Linear(3, 1))
    collector = IterateAverage(net)
    net[0][1] = nn.Tanh()
    collector.update()
    collector.update()
    old = net[0][0]  # still alive, and still with its parameters
    net[0][0] = nn.Linear(2, 3)
    with pytest.raises(ValueError, match=r"0\.0\.weight was replaced since"):
        collector.update()
    net[0][0] = old
    collector.update()


def test_copies_of_a_collector_do_not_hold_the_network():
    net = nn.Linear(2, 1)
    collector = SWAG(net, rank=2)
    for _ in range(3):
        collector.update()
    for copied in (copy.deepcopy(collector), pickle.loads(pickle.dumps(collector))):
        copied.update()
        assert copied.num_updates == 4


def test_copies_of_an_attached_collector_are_attached_to_nothing():
    net = nn.Linear(2, 1)
    collector, optimizer = SWAG(net, rank=2), torch.optim.SGD(net.parameters(), lr=0.1)
    with collector.attach(optimizer):
        copies = [copy.deepcopy(collector), pickle.loads(pickle.dumps(collector))]
        for copied in copies:
            own = torch.optim.SGD(copied._parameters, lr=0.1)
            with copied.attach(own):
                for parameter in copied._parameters:
                    parameter.grad = torch.ones_like(parameter)
                own.step()
        optimizer.step()
    assert [c.num_updates for c in (collector, *copies)] == [1, 1, 1]


@pytest.mark.parametrize("dtype", ["float64", torch.int8, float])
def test_what_is_no_floating_type_is_refused(dtype):
    with pytest.raises(TypeError, match="moments_dtype must be a floating type such as"):
        SWAG(nn.Linear(2, 1), moments_dtype=dtype)
