import pytest
import torch
from torch import nn
from torch.distributions import Independent, Laplace, Poisson, StudentT

from bayessgd import noise
from bayessgd.calibration.curvature import curvature_in_span
from bayessgd.calibration.problem import Problem
from bayessgd.calibration.span import Span
from bayessgd.likelihoods import Bernoulli, Categorical, Gaussian, GaussianLogScale, LearnedScale, log_joint
from bayessgd.params import flatten, unflatten
from bayessgd.priors import ElementwisePrior, FlatPrior, GaussianPrior

N = 12


class Counts:
    """y ~ Poisson(exp(output)): a likelihood of one's own."""

    def __call__(self, output):
        return Independent(Poisson(output.exp(), validate_args=False), output.ndim - 1)

    def log_prob(self, output, target):
        return self(output).log_prob(target)


def perceptron(outputs):
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, outputs)).double()


def gaussian_targets(random):
    return torch.randn(N, 2, generator=random, dtype=torch.float64)


CASES = {
    "Gaussian": (lambda: perceptron(2), Gaussian(0.3), gaussian_targets),
    "softmax": (lambda: perceptron(3), Categorical(), lambda r: torch.randint(3, (N,), generator=r)),
    "soft labels": (
        lambda: perceptron(3),
        Categorical(),
        lambda r: torch.rand(N, 3, generator=r, dtype=torch.float64).softmax(-1),
    ),
    "Bernoulli": (
        lambda: perceptron(2),
        Bernoulli(),
        lambda r: torch.randint(2, (N, 2), generator=r).double(),
    ),
    "Poisson": (lambda: perceptron(1), Counts(), lambda r: torch.ones(N, 1, dtype=torch.float64)),
    "learned noise": (
        lambda: LearnedScale(perceptron(2), num_outputs=2, scale=2.0),
        GaussianLogScale(),
        gaussian_targets,
    ),
}


def basis_of(like, k, random):
    rows = torch.randn(k, sum(t.numel() for t in like.values()), generator=random, dtype=torch.float64)
    return torch.linalg.qr(rows.T)[0].T


@pytest.mark.parametrize("case", CASES)
def test_gauss_newton_within_the_span(case):
    # Against the matrix of bayessgd.noise, which is computed another way: by products with the whole of θ.
    make, likelihood, targets = CASES[case]
    random = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = make()
    x, y = torch.randn(N, 3, generator=random, dtype=torch.float64), targets(random)
    mean = {name: p.detach() for name, p in net.named_parameters()}
    rows = basis_of(mean, 6, random)
    found = curvature_in_span(
        Problem(net, x, y, likelihood, GaussianPrior(2.0), num_data=5 * N), mean, Span(unflatten(rows, mean))
    )

    def loss(output, target):
        return -likelihood.log_prob(output, target).sum()

    whole = 5 * N * noise.gauss_newton(net, loss, x, y).matrix()
    data = rows @ whole @ rows.T
    values, vectors = torch.linalg.eigh(data)
    exact = (vectors * values.clamp(min=0)) @ vectors.T + 2 * torch.eye(6, dtype=torch.float64)
    turned = flatten(found.span.basis, mean) @ rows.T
    torch.testing.assert_close(turned.T @ torch.diag(found.values) @ turned, exact)


def test_a_linear_models_curvature_is_the_hessian_of_its_potential():
    random = torch.Generator().manual_seed(1)
    net = nn.Linear(3, 4).double()
    x, y = torch.randn(N, 3, generator=random, dtype=torch.float64), torch.randint(4, (N,), generator=random)
    mean = {name: p.detach() for name, p in net.named_parameters()}
    prior = GaussianPrior({"weight": 3.0, "bias": 0.5}, mean=1.0)

    def u(flat):
        return -log_joint(net, unflatten(flat, mean), x, y, likelihood=Categorical(), prior=prior, num_data=N)

    rows = torch.eye(16, dtype=torch.float64)
    found = curvature_in_span(
        Problem(net, x, y, Categorical(), prior, num_data=N), mean, Span(unflatten(rows, mean))
    )
    turned = flatten(found.span.basis, mean)
    torch.testing.assert_close(
        turned.T @ torch.diag(found.values) @ turned, torch.func.hessian(u)(flatten(mean))
    )


@pytest.mark.parametrize(
    "prior",
    [
        FlatPrior(),
        ElementwisePrior(StudentT(3.0, 0.0, 2.0)),
        ElementwisePrior(Laplace(0.0, 1.0)),
    ],
    ids=["flat", "student", "laplace"],
)
def test_any_prior_has_its_own_curvature(prior):
    random = torch.Generator().manual_seed(2)
    net = nn.Linear(3, 1, bias=False).double()
    x = torch.randn(N, 3, generator=random, dtype=torch.float64)
    mean = {"weight": 0.3 * torch.ones(1, 3, dtype=torch.float64)}
    found = curvature_in_span(
        Problem(net, x, x[:, :1], Gaussian(1.0), prior, num_data=N),
        mean,
        Span({"weight": torch.eye(3, dtype=torch.float64)[:, None]}),
    )
    own = torch.func.hessian(lambda w: -prior.log_prob({"weight": w}))(mean["weight"][0])
    exact = torch.linalg.eigvalsh(x.T @ x + own).flip(0)
    torch.testing.assert_close(found.values, exact)
