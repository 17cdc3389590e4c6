"""Rows of embeddings that stand for padding."""

import pytest
import torch
from torch import nn

from bayessgd import optimum, predict, snapshots
from bayessgd._padding import padding_rows
from bayessgd.likelihoods import Categorical, Gaussian
from bayessgd.posteriors import Ensemble
from bayessgd.priors import GaussianPrior
from bayessgd.reference import nuts

TOKENS = torch.tensor([[1, 2, 0], [3, 0, 0], [2, 1, 3], [1, 0, 0]])


class Mean(nn.Module):
    """The mean of a sequence's embeddings, padding included: the row matters to every prediction."""

    def __init__(self, padding_idx=0):
        super().__init__()
        self.embedding = nn.Embedding(4, 2, padding_idx=padding_idx)
        self.head = nn.Linear(2, 1)

    def forward(self, tokens):
        return self.head(self.embedding(tokens).mean(1))


class Tied(nn.Module):
    """Logits by the embeddings themselves: there the row learns."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(4, 2, padding_idx=0)

    def forward(self, tokens):
        return self.embedding(tokens).mean(1) @ self.embedding.weight.T


def run(net, y, **changes):
    laws = {"likelihood": Gaussian(1.0), "prior": GaussianPrior(1.0), **changes}
    settings = {"lr": 0.05, "batch_size": 4, "passes": 300, "num_chains": 20, "num_draws": 200, "seed": 1}
    return snapshots(net, TOKENS, y, **laws, **settings, progress=False)


@pytest.mark.parametrize("start", [0.0, 0.7])
def test_snapshots_hold_the_padding_row(start):
    torch.manual_seed(0)
    net = Mean()
    with torch.no_grad():
        net.embedding.weight[0] = start
    found = run(net, torch.tensor([[1.0], [0.0], [-1.0], [1.0]]))
    rows = found.draws["embedding.weight"]
    assert bool((rows[:, 0] == start).all())
    assert float(rows[:, 1:].std(0).min()) > 0.3  # of a prior of width 1
    # Both temperatures are those of the weights that move: with the row counted the layer would have three quarters.
    for kind in ("virial", "kinetic"):
        told = found.origin[kind]["layers"]["embedding.weight"]
        assert told["value"] == pytest.approx(1, abs=max(0.1, 4 * told["stderr"]))
    padded = predict(net, found, torch.zeros(1, 3, dtype=torch.long))
    rest = Ensemble({name: t for name, t in found.draws.items() if name.startswith("head")})
    alone = predict(net, rest, torch.zeros(1, 3, dtype=torch.long))
    assert torch.allclose(padded, alone)


def test_a_row_that_learns_elsewhere_is_a_weight():
    torch.manual_seed(0)
    assert padding_rows(Tied(), TOKENS) == {}
    found = run(Tied(), torch.tensor([0, 1, 2, 3]), likelihood=Categorical())
    assert float(found.draws["embedding.weight"][:, 0].std(0).min()) > 0.1


def test_a_network_that_cannot_be_looked_at_has_its_row_held():
    class Together(Mean):
        def forward(self, tokens):
            if len(tokens) < 4:
                raise ValueError
            return super().forward(tokens)

    assert padding_rows(Together(), TOKENS) == {"embedding.weight": 0}


def test_bags_and_several_embeddings():
    bag = nn.EmbeddingBag(4, 2, padding_idx=1, mode="sum")
    assert padding_rows(bag, TOKENS) == {"weight": 1}
    frozen = Mean()
    frozen.embedding.weight.requires_grad_(False)
    assert padding_rows(frozen, TOKENS) == {}
    assert padding_rows(Mean(None), TOKENS) == {}


@pytest.mark.filterwarnings("ignore:NUTS ended")
@pytest.mark.parametrize("of", ["optimum", "nuts"])
def test_what_moves_all_weights_refuses_it_and_the_remedy_works(of):
    torch.manual_seed(0)
    net = Mean().double()
    y = torch.tensor([[1.0], [0.0], [-1.0], [1.0]], dtype=torch.float64)
    laws = {"likelihood": Gaussian(0.1), "prior": GaussianPrior(1.0)}

    def found():
        if of == "optimum":
            at = optimum(net, TOKENS, y, **laws)
            params = {name: p.clone().requires_grad_() for name, p in at.params.items()}
            slopes = torch.autograd.grad(at.loss(net, params, TOKENS, y), list(params.values()))
            assert all(float(slope.abs().max()) < 1e-6 for slope in slopes)  # a mode in the row too
            return at.params
        return nuts(net, TOKENS, y, **laws, num_samples=4, num_warmup=4, num_chains=1, progress=False).draws

    with pytest.raises(ValueError, match=r"padding row.*padding_idx = None"):
        found()
    net.embedding.padding_idx = None
    assert bool(found()["embedding.weight"].isfinite().all())
