import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

import bayessgd
from bayessgd._sequence import ELEMENTWISE, Sequence


def draws(net, count, generator):
    return {
        name: torch.randn((count, *p.shape), dtype=p.dtype, generator=generator)
        for name, p in net.named_parameters()
    }


def perceptron(net, state, x):
    found = Sequence.of(net, set(state))
    assert found is not None
    own = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    start = found.start({name: t.detach().clone() for name, t in own.items()}, x)
    assert found.is_plain(start)
    return found.perceptron(state, start)


def shared():
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.Tanh(), layer)


NETWORKS = {
    "one layer": lambda: nn.Sequential(nn.Linear(4, 2)),
    "no bias": lambda: nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)),
    "shared layer": shared,
    **{
        kind.__name__: lambda kind=kind: nn.Sequential(nn.Linear(4, 3), kind(), nn.Linear(3, 2))
        for kind in sorted(ELEMENTWISE, key=lambda kind: kind.__name__)
    },
}


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS.keys())
def test_it_is_what_vmap_computes(make, gen):
    net = make().double()
    x = torch.randn(5, 4, dtype=torch.float64, generator=gen)
    state = draws(net, 6, gen)
    # Of a copy: functional_call leaves a network with a shared layer full of dead tensors.
    truth = vmap(lambda one: functional_call(copy.deepcopy(net), one, (x,)))(state)
    torch.testing.assert_close(perceptron(net, state, x), truth, rtol=1e-12, atol=1e-12)


def test_what_was_not_drawn_is_the_networks_own(gen):
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    x = torch.randn(5, 4, generator=gen)
    state = {"2.weight": draws(net, 6, gen)["2.weight"]}
    truth = vmap(lambda one: functional_call(net, one, (x,)))(state)
    torch.testing.assert_close(perceptron(net, state, x), truth.detach())


def test_inputs_are_left_alone(gen):
    # A nonlinearity in place would otherwise write into a sum that it does not own, or into x.
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))
    x = torch.randn(5, 4, generator=gen)
    before = x.clone()
    perceptron(net, draws(net, 3, gen), x)
    assert torch.equal(x, before)


class Own(nn.Sequential):
    """Whose forward may be anything."""


def hooked(kind):
    net = nn.Sequential(nn.Linear(4, 2))
    getattr(net[0], kind)(lambda *_: None)
    return net


def test_a_weight_that_is_a_buffer_is_the_members_own(gen):
    nets, x = (
        [nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)) for _ in range(3)],
        torch.randn(5, 4, generator=gen),
    )
    for net in nets:
        weight = net[0].weight.detach()
        del net[0].weight
        net[0].register_buffer("weight", weight)
    found = bayessgd.predict(nets[0], bayessgd.Ensemble.of_modules(nets), x)
    torch.testing.assert_close(found, torch.stack([net(x).detach() for net in nets]))


def patched(pick):
    """A network with a forward of its own in one object, as libraries that hook into layers write it."""
    net = nn.Sequential(nn.Linear(4, 2))
    pick(net).forward = lambda x: 2 * nn.functional.linear(x, net[0].weight, net[0].bias)
    return net


@pytest.mark.parametrize("pick", [lambda net: net, lambda net: net[0]])
def test_a_forward_that_was_put_into_an_object_is_run(pick, gen):
    net, x = patched(pick), torch.randn(5, 4, generator=gen)
    state = draws(net, 3, gen)
    truth = 2 * (x @ state["0.weight"].mT + state["0.bias"][:, None])
    torch.testing.assert_close(bayessgd.predict(net, bayessgd.Ensemble(state), x), truth)


@pytest.mark.parametrize(
    ("net", "inputs"),
    [
        (Own(nn.Linear(4, 2)), (torch.zeros(5, 4),)),
        (nn.Linear(4, 2), (torch.zeros(5, 4),)),
        (nn.Sequential(), (torch.zeros(5, 4),)),
        (nn.Sequential(nn.Linear(4, 4), nn.Softmax(1), nn.Linear(4, 2)), (torch.zeros(5, 4),)),
        (nn.Sequential(nn.Linear(4, 2), nn.Softmax(1)), (torch.zeros(5, 4),)),
        (nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)), (torch.zeros(5, 4),)),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))), (torch.zeros(5, 4),)),
        (patched(lambda net: net), (torch.zeros(5, 4),)),
        (patched(lambda net: net[0]), (torch.zeros(5, 4),)),
        (hooked("register_forward_hook"), (torch.zeros(5, 4),)),
        (hooked("register_forward_pre_hook"), (torch.zeros(5, 4),)),
        (nn.Sequential(nn.Linear(4, 2)), (torch.zeros(5, 3, 4),)),
        (nn.Sequential(nn.Linear(4, 2)), (torch.zeros(5, 3),)),
        (nn.Sequential(nn.Linear(4, 2)), (torch.zeros(5, 4), torch.zeros(5, 4))),
    ],
)
def test_anything_out_of_the_ordinary_is_left_to_vmap(net, inputs):
    found = Sequence.of(net, {name for name, _ in net.named_parameters()})
    assert found is None or len(inputs) > 1 or not found.is_plain(inputs[0])
