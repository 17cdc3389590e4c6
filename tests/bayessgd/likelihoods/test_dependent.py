"""Dependent data: sampled by NUTS, refused by whatever looks at batches."""

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

import bayessgd
from bayessgd.likelihoods import Gaussian, JointLikelihood, mean_negative_log_joint
from bayessgd.priors import GaussianPrior
from bayessgd.reference import nuts

N = 12
COVARIANCE = 0.8 ** (torch.arange(N)[:, None] - torch.arange(N)).abs().double()
"""Of an AR(1) series."""
AR = JointLikelihood(lambda f: MultivariateNormal(f[:, 0], COVARIANCE, validate_args=False))


class Level(nn.Module):
    """A series around one unknown level."""

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x):
        return x * self.level


X = torch.ones(N, 1, dtype=torch.float64)
Y = torch.linspace(-1, 2, N, dtype=torch.float64)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore:NUTS ended with")
@pytest.mark.parametrize("count", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_nuts_samples_the_closed_form(count):
    precision = 1 + float((X.T @ torch.linalg.solve(COVARIANCE, X)).squeeze())
    mean = float(X[:, 0] @ torch.linalg.solve(COVARIANCE, Y)) / precision
    found = nuts(
        Level(),
        X,
        Y,
        likelihood=AR,
        prior=GaussianPrior(1.0),
        num_samples=count,
        num_chains=2,
        progress=False,
        num_warmup=60,
    )
    draws = found.draws["level"][:, 0]
    n = found.origin["min_ess"]
    assert n > 90  # a factor of two in the variance would be seen
    assert abs(float(draws.mean()) - mean) < 4 * (1 / precision / n) ** 0.5
    assert abs(float(draws.var()) * precision - 1) < 4 * (2 / n) ** 0.5 * 1.5


def test_the_loss_of_all_data_is_the_law_and_a_batch_is_refused():
    model, theta = Level(), {"level": torch.ones(1).double()}
    laws = {"likelihood": AR, "prior": GaussianPrior(1.0), "num_data": N}
    want = MultivariateNormal(torch.ones(N).double(), COVARIANCE).log_prob(Y) + torch.distributions.Normal(
        0.0, 1.0
    ).log_prob(torch.tensor(1.0))
    torch.testing.assert_close(mean_negative_log_joint(model, theta, X, Y, **laws), -want / N)
    with pytest.raises(
        ValueError, match=r"5 of 12 data, whose dependence a batch would cut; .*reference.nuts"
    ):
        mean_negative_log_joint(model, theta, X[:5], Y[:5], **laws)


def test_batch_methods_refuse_it():
    law = bayessgd.Ensemble({"level": torch.zeros(4, 1).double()})
    one = {"level": torch.ones(1).double()}
    gaussian = bayessgd.LowRankGaussian(one, one)
    laws = {"likelihood": AR, "prior": GaussianPrior(1.0)}
    for call in (
        lambda: bayessgd.snapshots(Level(), X, Y, **laws, lr=0.1, batch_size=4, passes=10),
        lambda: bayessgd.calibrate(Level(), gaussian, X, Y, **laws),
        lambda: bayessgd.effective_temperature(Level(), law, X, Y, **laws, optimum=one),
        lambda: bayessgd.interop.to_arviz(law, Level(), X, Y, likelihood=AR),
    ):
        with pytest.raises(
            ValueError, match=r"one term per datum here, got JointLikelihood.*reference\.nuts"
        ):
            call()


def test_a_likelihood_of_your_own_that_sums_is_refused_and_the_wrapper_is_right():
    class Summed(Gaussian):
        def log_prob(self, output, target):
            return super().log_prob(output, target).sum()

    model, theta = Level(), {"level": torch.ones(1).double()}
    laws = {"prior": GaussianPrior(1.0), "num_data": N}
    with pytest.raises(ValueError, match=r"one number for each datum, \[12\], got \[\] of Summed"):
        mean_negative_log_joint(model, theta, X, Y[:, None], likelihood=Summed(1.0), **laws)
    wrapped = JointLikelihood(Gaussian(1.0))
    torch.testing.assert_close(
        mean_negative_log_joint(model, theta, X, Y[:, None], likelihood=wrapped, **laws),
        mean_negative_log_joint(model, theta, X, Y[:, None], likelihood=Gaussian(1.0), **laws),
    )
    with pytest.raises(TypeError, match="law must be a function from outputs to a distribution, got float"):
        JointLikelihood(1.0)
