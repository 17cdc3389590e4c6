import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from torch.distributions import (
    AffineTransform,
    HalfCauchy,
    HalfNormal,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
)
from torch.func import vmap

from bayessgd.likelihoods import GaussianLogScale, LearnedScale, log_joint
from bayessgd.named_priors import HalfStudentT, LogScalePrior, NamedPriors
from bayessgd.priors import ElementwisePrior, FlatPrior, GaussianPrior
from bayessgd.theory import LearnedScaleRegression

PARAMS = {
    "body.weight": torch.randn(2, 3).double(),
    "head.bias": torch.randn(2).double(),
    "log_scale": torch.ones(1).double(),
}


def test_parts_add_up_each_under_its_own():
    means = torch.tensor([1.0, -2.0]).double()
    prior = NamedPriors(
        {
            "*": GaussianPrior(3.0),
            "head.*": Normal(means, torch.tensor([0.5, 2.0]).double()),
            "log_scale": LogScalePrior(HalfCauchy(2.5)),
        }
    )
    # A name goes before patterns; of patterns the first: "*" took the head.
    with pytest.raises(ValueError, match=r"none for \['head.\*'\]"):
        prior.log_prob(PARAMS)
    prior = NamedPriors({name: prior.priors[name] for name in ("head.*", "log_scale", "*")})
    want = (
        scipy.stats.norm.logpdf(PARAMS["body.weight"], 0, 3**-0.5).sum()
        + scipy.stats.norm.logpdf(PARAMS["head.bias"], means, [0.5, 2.0]).sum()
        + scipy.stats.halfcauchy.logpdf(math.e, scale=2.5)
        + 1  # dσ/ds = e^s
    )
    found = prior.log_prob(PARAMS)
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("law", [HalfCauchy(2.5), HalfNormal(0.7), HalfStudentT(3.0, 2.0)])
def test_the_law_of_a_log_scale_is_normalised_and_is_that_of_the_scale(law):
    prior = LogScalePrior(law)

    def density(s):
        return float(prior.log_prob({"s": torch.tensor([s], dtype=torch.float64)}).exp())

    assert scipy.integrate.quad(density, -40, 40, limit=400)[0] == pytest.approx(1, abs=1e-6)
    # P(σ < 1.3) of the law of σ itself.
    scale = float(getattr(law, "scale", 1.0))
    known = {"HalfCauchy": scipy.stats.cauchy(scale=scale), "HalfNormal": scipy.stats.norm(scale=scale)}.get(
        type(law).__name__, scipy.stats.t(3.0, scale=2.0)
    )
    want = 2 * known.cdf(1.3) - 1
    assert scipy.integrate.quad(density, -40, math.log(1.3), limit=400)[0] == pytest.approx(want, abs=1e-6)


def test_half_students_t_is_twice_the_half_of_the_whole():
    x = torch.linspace(0, 20, 50, dtype=torch.float64)
    want = scipy.stats.t.logpdf(x, 4.0, scale=1.5) + math.log(2)
    np.testing.assert_allclose(HalfStudentT(4.0, 1.5).log_prob(x), want, rtol=1e-12)
    assert float(HalfStudentT(4.0).log_prob(torch.tensor(-1.0))) == -math.inf
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = HalfStudentT(4.0, 1.5).sample((20_000,))
    # Var|t| is finite at df = 4; the median is the 0.75 quantile of t.
    median = 1.5 * scipy.stats.t.ppf(0.75, 4.0)
    share = float((draws < median).double().mean())
    assert abs(share - 0.5) < 4 * 0.5 / 20_000**0.5


@pytest.mark.parametrize("law", [HalfCauchy(1.0), HalfNormal(1.0), HalfStudentT(2.0), Normal(0.0, 1.0)])
def test_float64_parameters_are_not_rounded_to_a_laws_float32(law):
    # A change below float32's resolution moves the density by its slope.
    prior = NamedPriors({"s": law})
    s = torch.tensor([1.0], dtype=torch.float64)
    moved = prior.log_prob({"s": s + 1e-9}) - prior.log_prob({"s": s})
    slope = torch.func.grad(lambda t: prior.log_prob({"s": t}))(s)
    assert float(moved) == pytest.approx(1e-9 * float(slope), rel=1e-5)
    elementwise = ElementwisePrior(law) if not isinstance(law, HalfStudentT) else None
    if elementwise is not None:
        torch.testing.assert_close(elementwise.log_prob({"s": s}), prior.log_prob({"s": s}))


def test_a_law_that_cannot_be_widened_is_refused_and_its_remedy_is_right():
    s = {"s": torch.tensor([1.0], dtype=torch.float64)}

    def law(dtype):
        # torch's half-Cauchy behind a change of scale, of which the parameters cannot be read.
        return TransformedDistribution(
            HalfCauchy(torch.tensor(1.0, dtype=dtype)), [AffineTransform(0.0, torch.tensor(2.0, dtype=dtype))]
        )

    with pytest.raises(ValueError, match=r"of the parameters' torch.float64.*make it from tensors"):
        NamedPriors({"s": law(torch.float32)}).log_prob(s)
    found = NamedPriors({"s": law(torch.float64)}).log_prob(s)
    assert float(found) == pytest.approx(scipy.stats.halfcauchy.logpdf(1.0, scale=2.0), rel=1e-12)


def test_it_runs_over_stacked_chains():
    prior = NamedPriors({"log_scale": LogScalePrior(HalfCauchy(1.0)), "*": Normal(0.0, 1.0)})
    stacked = {"w": torch.randn(4, 3), "log_scale": torch.randn(4, 1)}
    found = vmap(prior.log_prob)(stacked)
    want = torch.stack([prior.log_prob({k: t[i] for k, t in stacked.items()}) for i in range(4)])
    torch.testing.assert_close(found, want)


def test_a_joint_law_of_one_tensor():
    cov = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    prior = NamedPriors({"head.bias": MultivariateNormal(torch.zeros(2).double(), cov)})
    want = scipy.stats.multivariate_normal.logpdf(PARAMS["head.bias"], np.zeros(2), cov)
    assert float(prior.log_prob({"head.bias": PARAMS["head.bias"]})) == pytest.approx(float(want), rel=1e-12)


def test_means_by_name_and_by_coefficient():
    means = {"w": torch.tensor([1.0, -1.0]), "b": 3}
    prior = GaussianPrior({"w": 4.0, "b": 1.0}, mean=means)
    params = {"w": torch.zeros(2), "b": torch.zeros(1)}
    want = scipy.stats.norm.logpdf([0, 0], [1, -1], 0.5).sum() + scipy.stats.norm.logpdf(0, 3)
    assert float(prior.log_prob(params)) == pytest.approx(want, rel=1e-6)
    drawn = prior.sample(
        {"w": torch.zeros(2), "b": torch.zeros(1)}, generator=torch.Generator().manual_seed(0)
    )
    again = GaussianPrior({"w": 4.0, "b": 1.0}).sample(params, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn["w"] - again["w"], means["w"])
    stacked = {"w": torch.randn(5, 2), "b": torch.randn(5, 1)}
    found = vmap(prior.log_prob)(stacked)
    torch.testing.assert_close(found[2], prior.log_prob({k: t[2] for k, t in stacked.items()}))


@pytest.mark.usefixtures("unchecked")
def test_flat_in_sigma_needs_the_jacobian_and_has_it():
    """The mean of log σ: under FlatPrior that of p(σ) ∝ 1/σ, under LogScalePrior() that of a flat σ; by quadrature."""
    random = torch.Generator().manual_seed(0)
    x = torch.cat([torch.ones(46, 1), torch.randn(46, 1, generator=random)], 1).double()
    y = x.sum(1) + torch.randn(46, generator=random).double()
    model = LearnedScale(torch.nn.Linear(2, 1, bias=False).double())
    flat_log, flat = LearnedScaleRegression(x, y), LearnedScaleRegression(x, y, log_prior=lambda s: s)
    shift = (flat.mean[0] - flat_log.mean[0]) / flat.covariance[0, 0].sqrt()
    assert 0.09 < float(shift) < 0.13  # 0.11 of a standard deviation at N = 46
    grid = torch.linspace(-1.0, 1.0, 401, dtype=torch.float64)
    solution = torch.linalg.lstsq(x, y[:, None]).solution.T

    def mean(prior):
        # At the least-squares coefficients; their integral given σ is ∝ σ², the square root of |XᵀX/σ²|⁻¹.
        log_p = torch.stack(
            [
                log_joint(
                    model,
                    {"model.weight": solution, "log_scale": s[None]},
                    x,
                    y[:, None],
                    likelihood=GaussianLogScale(),
                    prior=prior,
                    num_data=46,
                )
                for s in grid
            ]
        )
        weights = torch.softmax(log_p + 2 * grid, 0)
        return float(weights @ grid)

    assert mean(FlatPrior()) == pytest.approx(float(flat_log.mean[0]), abs=1e-6)
    jacobian = NamedPriors({"log_scale": LogScalePrior(), "*": FlatPrior()})
    assert mean(jacobian) == pytest.approx(float(flat.mean[0]), abs=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: NamedPriors({}), TypeError, "priors must map names or patterns to priors"),
        (lambda: NamedPriors(3), TypeError, "got int; such as"),
        (
            lambda: NamedPriors({"w": 1.0}),
            TypeError,
            r"priors\['w'\] must be a prior or a torch.distributions",
        ),
        (
            lambda: LogScalePrior(1.0),
            TypeError,
            "law must be a torch.distributions.Distribution of σ, or None",
        ),
        (lambda: HalfStudentT(0.0), ValueError, "df must be finite and above 0"),
        (lambda: HalfStudentT(1.0, -1.0), ValueError, "scale must be finite and above 0"),
        (lambda: GaussianPrior(1.0, mean={"w": "0"}), TypeError, r"mean\['w'\] must be a number, got str"),
        (
            lambda: GaussianPrior(1.0, mean={"w": torch.tensor(torch.inf)}),
            ValueError,
            "must be a finite floating",
        ),
        (
            lambda: GaussianPrior(1.0, mean={"w": 0.0}).log_prob(PARAMS),
            ValueError,
            "mean must name every parameter, got none for 'body.weight'",
        ),
        (
            lambda: GaussianPrior(1.0, mean={"head.bias": torch.zeros(3)}).log_prob(
                {"head.bias": torch.zeros(2)}
            ),
            ValueError,
            r"must have the shape \[2\] of its parameter, got \[3\]",
        ),
        (
            lambda: NamedPriors({"head.bias": Normal(torch.zeros(3), 1.0)}).log_prob(
                {"head.bias": torch.zeros(2)}
            ),
            ValueError,
            r"priors\['head.bias'\] must have a shape that broadcasts to \[2\] of head.bias, got \[3\]",
        ),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_parameter_without_a_prior_is_refused_and_a_star_takes_the_rest():
    with pytest.raises(ValueError, match=r"got none for 'head.bias'; name it, or add '\*' for the rest"):
        NamedPriors({"body": FlatPrior(), "log_scale": FlatPrior()}).log_prob(PARAMS)
    found = NamedPriors({"body": FlatPrior(), "log_scale": FlatPrior(), "*": Normal(0.0, 1.0)}).log_prob(
        PARAMS
    )
    assert float(found) == pytest.approx(scipy.stats.norm.logpdf(PARAMS["head.bias"]).sum(), rel=1e-12)
