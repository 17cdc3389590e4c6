"""What an optimizer that does not fit the collector is told."""

import pytest
import torch

from bayessgd.collectors import SWAG, IterateAverage
from tests.bayessgd.collectors.runs import network, train


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05)


def test_a_second_attach_is_refused_until_the_first_is_removed():
    net = network()
    average, optimizer = IterateAverage(net), sgd(net.parameters())
    handle = average.attach(optimizer)
    for again in (optimizer, sgd(net.parameters())):
        with pytest.raises(ValueError, match=r"attached once.*call handle.remove\(\)"):
            average.attach(again)
    handle.remove()
    with average.attach(optimizer):
        train(net, optimizer, steps=4)
    assert average.num_updates == 4
    with average.attach(optimizer):  # leaving the block had removed it
        pass


def test_weights_that_were_unfrozen_are_told_and_a_collector_made_afterwards_has_them():
    net = network()
    net[0].requires_grad_(False)
    early, optimizer = IterateAverage(net), sgd(net.parameters())
    with early.attach(optimizer):  # frozen, though the optimizer holds them: nothing to say
        train(net, optimizer, steps=2)
    net[0].requires_grad_(True)
    with pytest.warns(UserWarning, match="trains 2 parameters that the collector lacks.*after unfreezing"):
        early.attach(optimizer)
    late = IterateAverage(net)
    with late.attach(optimizer):
        train(net, optimizer, steps=2)
    assert "0.weight" in late.posterior().mean


def test_unfreezing_while_it_listens_is_told_once():
    net = network()
    net[0].requires_grad_(False)
    average, optimizer = IterateAverage(net), sgd(net[2].parameters())
    with average.attach(optimizer):
        train(net, optimizer, steps=2)
        net[0].requires_grad_(True)
        optimizer.add_param_group({"params": list(net[0].parameters())})
        with pytest.warns(UserWarning, match="trains 2 parameters that the collector lacks") as told:
            train(net, optimizer, steps=5)
    assert len(told) == 1


def test_an_optimizer_of_two_networks_is_told_of():
    net, other = network(), network()
    with pytest.warns(UserWarning, match="trains 4 parameters that the collector lacks"):
        IterateAverage(net).attach(sgd([*net.parameters(), *other.parameters()]))


def test_parameters_in_no_optimizer_are_told_and_both_remedies_are_right(caplog):
    # The posterior's scale would count 9 of 13 parameters as known for certain.
    net = network()
    head = sgd(net[2].parameters())
    IterateAverage(net).attach(head).remove()
    assert "2 of the collector's 4 parameters are in no optimizer given, 0.weight" in caplog.text
    with SWAG(net, parameters=net[2]).attach(head):
        train(net, head, steps=3)
    body, both = sgd(net[0].parameters()), IterateAverage(net)
    with both.attach([body, head]):
        body.step()
        assert both.num_updates == 0
        head.step()
    assert both.num_updates == 1


def test_what_wraps_an_optimizer_is_looked_through():
    class Wrapped(torch.optim.Optimizer):
        """As Accelerate's: an optimizer by type that never was initialised as one."""

        def __init__(self, optimizer):
            self.optimizer = optimizer

    net = network()
    average, optimizer = IterateAverage(net), sgd(net.parameters())
    with average.attach(Wrapped(optimizer)):
        train(net, optimizer, steps=3)
    assert average.num_updates == 3


def test_no_optimizer_is_refused():
    with pytest.raises(ValueError, match="one or several, got an empty list"):
        IterateAverage(network()).attach([])
