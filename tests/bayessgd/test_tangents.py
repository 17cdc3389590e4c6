import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

from bayessgd.batchnorm import fresh_statistics, refreshing
from bayessgd.tangents import tangents


def case(net, k=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    mean = {name: p.detach() for name, p in net.named_parameters()}
    along = {name: torch.randn(k, *p.shape, generator=random, dtype=p.dtype) for name, p in mean.items()}
    return mean, along


def exact(net, mean, along, x):
    jacobian = jacrev(lambda t: functional_call(net, t, (x,)))(mean)
    return sum(
        torch.einsum("ni,ki->kn", jacobian[name].reshape(-1, p.numel()), along[name].flatten(1))
        for name, p in mean.items()
    )


@pytest.mark.parametrize("chunk_size", [None, 1, 2])
def test_against_the_jacobian(chunk_size):
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 2)).double()
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mean, along = case(net)
    before = {name: p.clone() for name, p in net.named_parameters()}
    output, found = tangents(net, mean, along, x, chunk_size=chunk_size)
    net.eval()
    torch.testing.assert_close(output, net(x).detach())
    torch.testing.assert_close(found.flatten(1), exact(net, mean, along, x))
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())


class Cube(torch.autograd.Function):
    """A function without forward mode and without vmap."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.last(Cube.apply(self.first(x)))


@pytest.mark.filterwarnings("ignore:the draws run one by one")
def test_a_network_without_forward_mode_has_the_same_by_differences(dtype):
    own = Own().to(dtype)
    plain = nn.Sequential(own.first, Power(), own.last)
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(1), dtype=dtype)
    mean, along = case(own)
    names = {
        "first.weight": "0.weight",
        "first.bias": "0.bias",
        "last.weight": "2.weight",
        "last.bias": "2.bias",
    }
    output, found = tangents(own, mean, along, x)
    there, truth = tangents(
        plain, {names[n]: t for n, t in mean.items()}, {names[n]: t for n, t in along.items()}, x
    )
    torch.testing.assert_close(output, there)
    # u^{2/3} is 2e-5 in float32 and 4e-11 in float64, times what third derivatives have.
    unit = torch.finfo(dtype).eps ** (2 / 3)
    torch.testing.assert_close(found, truth, rtol=100 * unit, atol=100 * unit * float(truth.abs().max()))


class Power(nn.Module):
    def forward(self, x):
        return x**3


def test_recurrent_networks_and_attention():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(5, 6, 8, generator=random, dtype=torch.float64)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).double().eval()

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(8, 4, batch_first=True).double()

        def forward(self, x):
            return self.lstm(x)[0][:, -1]

    for net in (layer, Last()):
        mean, along = case(net)
        _, found = tangents(net, mean, along, x)
        step = 1e-5
        moved = [
            functional_call(net, {n: t + s * step * along[n][0] for n, t in mean.items()}, (x,))
            for s in (1, -1)
        ]
        torch.testing.assert_close(
            found[0], (moved[0] - moved[1]).detach() / (2 * step), rtol=1e-6, atol=1e-7
        )


def test_statistics_of_batchnorm_follow_the_weights_where_they_are_refreshed():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mean, along = case(net)

    def output(theta):
        state = {name: t[0] for name, t in fresh_statistics(net, 1).items()}
        with refreshing(net) as refresh:
            refresh.next_batch(len(x))
            functional_call(net, {**theta, **state}, (x,))
        return functional_call(net.eval(), {**theta, **state}, (x,))

    _, found = tangents(net, mean, along, x, refresh_batchnorm=[x])
    step = 1e-5
    moved = [output({n: t + s * step * along[n][1] for n, t in mean.items()}) for s in (1, -1)]
    torch.testing.assert_close(found[1], (moved[0] - moved[1]).detach() / (2 * step), rtol=1e-5, atol=1e-7)


def test_refusal_of_another_networks_weights():
    net = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="it is of another network"):
        tangents(net, {"weight": torch.zeros(1, 3)}, {"weight": torch.zeros(1, 1, 3)}, torch.zeros(1, 2))
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        tangents(net, {"weight": torch.zeros(1, 2)}, {"weight": torch.zeros(1, 1, 2)}, torch.zeros(1, 5))
