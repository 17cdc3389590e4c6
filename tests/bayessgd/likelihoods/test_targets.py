"""Targets of no probability are refused where all the data are seen; `vmap` would let them pass."""

from functools import partial

import pytest
import torch
from torch import nn

from bayessgd import LowRankGaussian, Subspace, calibrate, optimum, reference, snapshots, subspace_nuts
from bayessgd.calibration import potential
from bayessgd.likelihoods import Bernoulli, Gaussian, GaussianPrior, Poisson, Weighted

LINE, X = nn.Linear(1, 1, bias=False).double(), torch.ones(4, 1).double()
LAW = LowRankGaussian({"weight": torch.zeros(1, 1).double()}, {"weight": torch.ones(1, 1).double()})
SPACE = Subspace({"weight": torch.zeros(1, 1).double()}, torch.ones(1, 1).double(), torch.ones(1).double())
NUTS = {"num_samples": 4, "num_chains": 1, "progress": False}
JOBS = {
    "optimum": lambda y, **laws: optimum(LINE, X, y, **laws),
    "nuts": lambda y, **laws: reference.nuts(LINE, X, y, **laws, **NUTS),
    "subspace": lambda y, **laws: subspace_nuts(LINE, SPACE, X, y, **laws, **NUTS, temperature=2.0),
    "snapshots": lambda y, **laws: snapshots(LINE, X, y, **laws, lr=0.1, batch_size=2, progress=False),
    "calibrate": lambda y, **laws: calibrate(LINE, LAW, X, y, **laws),
    "held out": lambda y, **laws: calibrate(LINE, LAW, X, X, **laws, held_out=(X, y)),
    "potential": lambda y, **laws: potential(LINE, {"weight": torch.zeros(1, 1, 1).double()}, X, y, **laws),
}


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    ("likelihood", "value", "match"),
    [
        (Bernoulli(), 2.0, r"y must be 0, 1 or a probability for Bernoulli, got values from 2 to 2; map"),
        (Bernoulli(), -1.0, "Bernoulli, got values from -1 to -1"),
        (Poisson(), -1.0, "y must hold counts .* for Poisson, got -1; of rates"),
        (Poisson(), 0.5, "Poisson, got 0.5"),
    ],
)
def test_every_job_refuses_them(job, likelihood, value, match):
    with pytest.raises(ValueError, match=match):
        JOBS[job](torch.full((4, 1), value).double(), likelihood=likelihood, prior=GaussianPrior(1.0))


def test_what_is_possible_passes():
    for y in (torch.tensor([[0.0], [1.0], [0.3], [1.0]]), torch.tensor([[True], [False], [True], [True]])):
        Bernoulli().check_targets(y)
    Poisson().check_targets(torch.tensor([[0], [3]]))
    Weighted(Gaussian(1.0)).check_targets((torch.full((2, 1), -1.0), torch.tensor([True, False])))


def test_weights_are_not_negative_and_what_has_none_may_be_anything():
    y = torch.tensor([[1.0], [7.0]])
    check = partial(lambda w, y: Weighted(Bernoulli()).check_targets((y, w)), y=y)
    check(torch.tensor([1.0, 0.0]))
    check(torch.tensor([[1.0], [0.0]]))
    check(torch.zeros(2))
    with pytest.raises(ValueError, match="weights must not be negative, got a minimum of -1"):
        check(torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match="got values from 1 to 7"):
        check(torch.tensor([1.0, 1.0]))
    laws = {"likelihood": Weighted(Gaussian(1.0)), "prior": GaussianPrior(1.0)}
    with pytest.raises(ValueError, match="weights must not be negative"):
        reference.nuts(LINE, X, (X, -torch.ones(4)), **laws, **NUTS)


class Impossible(Gaussian):
    """Of no probability, with finite derivatives all the same."""

    def log_prob(self, output, target):
        return super().log_prob(output, target) - torch.inf


def test_a_mode_of_an_infinite_loss_is_none():
    with pytest.raises(ValueError, match="finite derivatives and a finite loss"):
        optimum(LINE, X, X, likelihood=Impossible(1.0), prior=GaussianPrior(1.0))
