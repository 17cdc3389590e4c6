"""Inputs that a network cannot be called with: refused in our words by every function that runs it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import bayessgd
from bayessgd import Chains, Ensemble, noise
from bayessgd.likelihoods import Gaussian, NamedPriors, mean_negative_log_joint
from bayessgd.posteriors import LowRankGaussian
from bayessgd.priors import GaussianPrior

LAWS: dict[str, Any] = {"likelihood": Gaussian(1.0), "prior": GaussianPrior(1.0)}


def bank(net: nn.Module) -> Ensemble:
    return Ensemble({name: p.detach().expand(2, *p.shape) for name, p in net.named_parameters()})


def gaussian(net: nn.Module) -> LowRankGaussian:
    named = {name: p.detach() for name, p in net.named_parameters()}
    return LowRankGaussian(named, {name: torch.full_like(p, 0.01) for name, p in named.items()})


def joint(net: nn.Module, x: Any, y: Tensor) -> Tensor:
    return mean_negative_log_joint(net, dict(net.named_parameters()), x, y, num_data=9, **LAWS)


RUNS: dict[str, Callable[[nn.Module, Any, Tensor], object]] = {
    "predict": lambda net, x, y: bayessgd.predict(net, bank(net), x),
    "predict, batches": lambda net, x, y: bayessgd.predict(net, bank(net), [x]),
    "predict, linearised": lambda net, x, y: bayessgd.predict(net, gaussian(net), x, linearised=True),
    "calibrate": lambda net, x, y: bayessgd.calibrate(net, gaussian(net), x, y, **LAWS),
    "loss": joint,
    "optimum": lambda net, x, y: bayessgd.optimum(net, x, y, **LAWS),
    "snapshots": lambda net, x, y: bayessgd.snapshots(
        net, x, y, **LAWS, lr=0.01, batch_size=3, passes=9, num_draws=2, progress=False
    ),
    "nuts": lambda net, x, y: bayessgd.reference.nuts(
        net, x, y, **LAWS, num_samples=4, num_warmup=4, progress=False
    ),
    "gradients": lambda net, x, y: noise.per_example_gradients(net, mse_loss, x, y),
    "hessian": lambda net, x, y: noise.hessian(net, mse_loss, x, y).product(torch.ones(4)),
    "chains": lambda net, x, y: Chains(net, 2).loss(mse_loss, x, y, shared=True),
    "chains, own batches": lambda net, x, y: Chains(net, 2).loss(
        mse_loss, x.expand(2, -1, -1), y.expand(2, -1, -1)
    ),
}
UNFIT = {
    "float64": (torch.randn(9, 3).double(), r"float64 \[\d+, 3\].*convert them to torch.float32"),
    "bytes": (torch.ones(9, 3, dtype=torch.uint8), r"uint8 \[\d+, 3\].*convert them to torch.float32"),
    "shape": (torch.randn(9, 5), r"float32 \[\d+, 5\].*pass what its forward asks for"),
}


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize("run", RUNS)
def test_inputs_that_the_network_cannot_take_are_refused(run, kind):
    x, said = UNFIT[kind]
    net = nn.Linear(3, 1)
    with pytest.raises(ValueError, match=f"model cannot take inputs torch.{said}"):
        RUNS[run](net, x, torch.randn(9, 1))


@pytest.mark.parametrize("net", [nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)), nn.Linear(3, 1)])
def test_bytes_into_a_perceptron_are_told(net):
    with pytest.raises(ValueError, match=r"model cannot take inputs torch.uint8 \[4, 3\].*convert them"):
        bayessgd.predict(net, bank(net), torch.ones(4, 3, dtype=torch.uint8))


def test_a_pair_given_as_inputs_is_told_what_a_tuple_is():
    net = nn.Linear(3, 1)
    with pytest.raises(ValueError, match=r"a tuple is several inputs, and batches .* go into a list"):
        bayessgd.predict(net, bank(net), (torch.zeros(4, 3), torch.zeros(4)))


class Picky(nn.Module):
    """Takes what it likes, and leaves a mark where it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        if x.shape[1] != 3:
            raise KeyError if x.shape[1] == 1 else AssertionError("three, please")
        return self.layer(x)


def test_the_networks_own_refusal_keeps_its_type_and_the_network_its_buffers():
    net = Picky()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(AssertionError, match=r"three, please"):
        bayessgd.predict(net, bank(net), torch.zeros(4, 5))
    with pytest.raises(ValueError, match=r"cannot take inputs torch.float64"):
        bayessgd.predict(net, bank(net), torch.zeros(4, 3).double())
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


def test_a_fault_of_the_weights_is_not_laid_to_the_inputs():
    class Guarded(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if bool((self.weight > 1).any()):
                raise RuntimeError("weights above one")
            return super().forward(x)

    net = Guarded(3, 1)
    draws = Ensemble({"weight": torch.full((2, 1, 3), 2.0), "bias": torch.zeros(2, 1)})
    with pytest.raises(RuntimeError, match=r"^weights above one"):
        bayessgd.predict(net, draws, torch.zeros(4, 3))


def test_a_packed_sequence_is_refused():
    net = nn.LSTM(3, 4)
    x = nn.utils.rnn.pack_sequence([torch.randn(5, 3), torch.randn(2, 3)])
    with pytest.raises(TypeError, match=r"got a PackedSequence; pass the padded tensor and the lengths"):
        bayessgd.predict(net, bank(net), x)
    with pytest.raises(TypeError, match=r"got a PackedSequence; pass the padded tensor and the lengths"):
        bayessgd.calibrate(net, gaussian(net), x, torch.zeros(5, 1), **LAWS)


@pytest.mark.parametrize(
    ("laws", "message"),
    [
        (
            {"likelihood": Gaussian},
            r"likelihood must be an object, got the class Gaussian; write Gaussian\(...\)",
        ),
        ({"prior": GaussianPrior}, r"prior must be an object, got the class GaussianPrior"),
        (
            {"prior": torch.distributions.Normal(0.0, 1.0)},
            r"prior must be .* got the distribution Normal.*NamedPriors",
        ),
    ],
)
@pytest.mark.parametrize("run", ["calibrate", "loss", "optimum", "snapshots", "nuts"])
def test_laws_that_are_classes_or_bare_distributions_are_refused(run, laws, message, monkeypatch):
    if run == "loss" and "distribution" in message:
        pytest.skip("every step takes it: the functions of all data look")
    monkeypatch.setitem(LAWS, *next(iter(laws.items())))
    with pytest.raises(TypeError, match=message):
        RUNS[run](nn.Linear(3, 1), torch.randn(9, 3), torch.randn(9, 1))


def test_the_remedy_for_a_bare_distribution_works():
    normal = NamedPriors({"*": torch.distributions.Normal(0.0, 1.0)})
    params = {"weight": torch.randn(2, 3)}
    assert torch.isclose(normal.log_prob(params), GaussianPrior(1.0).log_prob(params))


def test_looking_for_the_fault_changes_no_weights():
    net = nn.Sequential(nn.Embedding(11, 3, max_norm=0.1), nn.Flatten(), nn.Linear(15, 1))
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match=r"model cannot take inputs torch.int64 \[4, 6\]"):
        bayessgd.predict(net, bank(net), torch.randint(11, (4, 6)))
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


class Squeezing(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).squeeze()


@pytest.mark.parametrize("reduce", [None, "moments", torch.sigmoid])
def test_a_squeeze_that_drops_a_batch_of_one_is_refused(reduce):
    net, x = Squeezing(3, 1), torch.randn(17, 3)
    with pytest.raises(
        ValueError, match=r"a squeeze\(\) in its forward drops a batch of one: write squeeze\(-1\)"
    ):
        bayessgd.predict(net, bank(net), list(x.split(8)), reduce=reduce)
    bayessgd.predict(net, bank(net), list(x[:16].split(8)), reduce=reduce)
    with pytest.raises(ValueError, match=r"got one number; a squeeze\(\) .* write squeeze\(-1\)"):
        bayessgd.predict(net, bank(net), x[:1], reduce=reduce)
