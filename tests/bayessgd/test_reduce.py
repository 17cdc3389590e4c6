import pytest
import torch
from torch import nn

from bayessgd import Ensemble, predict


class Holds(nn.Module):
    """Which runs under vmap and not as a plain perceptron."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


@pytest.fixture
def case(gen):
    net = Holds(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    bank = Ensemble({n: torch.randn(7, *p.shape, generator=gen) for n, p in net.named_parameters()})
    return net, bank, torch.randn(5, 3, generator=gen)


@pytest.mark.parametrize("chunk_size", [None, 1, 3])
@pytest.mark.parametrize("batched", [False, True])
def test_what_is_kept_is_that_of_all_outputs(case, chunk_size, batched):
    net, bank, x = case
    full = predict(net, bank, x)
    data = x.split(2) if batched else x
    data = list(data) if batched else data
    probabilities = predict(net, bank, data, reduce="mean_probs", chunk_size=chunk_size)
    torch.testing.assert_close(probabilities, full.softmax(-1).mean(0))
    moments = predict(net, bank, data, reduce="moments", chunk_size=chunk_size)
    torch.testing.assert_close(moments.mean, full.mean(0))
    torch.testing.assert_close(moments.variance, full.var(0))
    squares = predict(net, bank, data, reduce=torch.square, chunk_size=chunk_size)
    torch.testing.assert_close(squares, full.square().mean(0))


def test_the_variance_of_outputs_far_from_zero_keeps_its_digits():
    net = nn.Linear(1, 1)
    shift = torch.linspace(-1, 1, 9)[:, None]
    bank = Ensemble({"weight": torch.zeros(9, 1, 1, dtype=torch.float32), "bias": 1000 + shift})
    found = predict(
        Holds(net),
        Ensemble({f"net.{n}": t for n, t in bank.draws.items()}),
        torch.zeros(1, 1),
        reduce="moments",
        chunk_size=2,
    )
    torch.testing.assert_close(
        found.variance, (1000 + shift).double().var().float().reshape(1, 1), rtol=1e-6, atol=0
    )


def test_one_draw_has_no_variance(case):
    net, bank, x = case
    point = Ensemble({n: t[:1] for n, t in bank.draws.items()})
    assert not predict(net, point, x, reduce="moments").variance.any()


@pytest.mark.parametrize(
    ("reduce", "error", "message"),
    [
        ("mean", ValueError, "reduce must be 'mean_probs', 'moments' or a function, got 'mean'"),
        (3, TypeError, "or a function, got int"),
        (lambda f: f.mean(0), ValueError, "reduce must keep the 7 draws first, got \\[5, 2\\]"),
    ],
)
def test_refusals(case, reduce, error, message):
    net, bank, x = case
    with pytest.raises(error, match=message):
        predict(net, bank, x, reduce=reduce)


def test_refusal_of_one_logit_and_its_remedy(gen):
    net = nn.Linear(3, 1)
    bank = Ensemble({n: torch.randn(4, *p.shape, generator=gen) for n, p in net.named_parameters()})
    x = torch.randn(5, 3, generator=gen)
    with pytest.raises(ValueError, match=r"of one logit pass reduce=torch\.sigmoid"):
        predict(net, bank, x, reduce="mean_probs")
    torch.testing.assert_close(
        predict(net, bank, x, reduce=torch.sigmoid), predict(net, bank, x).sigmoid().mean(0)
    )
