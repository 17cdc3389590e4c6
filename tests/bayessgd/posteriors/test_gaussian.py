"""The low-rank Gaussian against its dense covariance, and its draws against its law."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, LowRankMultivariateNormal, MultivariateNormal

from bayessgd.params import flatten, unflatten
from bayessgd.posteriors import LowRankGaussian, Posterior

SHAPES = {"0.weight": (2, 3), "0.bias": (3,), "2.weight": (1, 4), "scalar": ()}


def random_dict(generator, dtype, *lead) -> dict[str, Tensor]:
    return {
        name: torch.randn((*lead, *shape), dtype=dtype, generator=generator) for name, shape in SHAPES.items()
    }


def make(generator, dtype=torch.float64, rank=4, scale=0.5) -> LowRankGaussian:
    variance = {name: 0.1 + t.square() for name, t in random_dict(generator, dtype).items()}
    rows = random_dict(generator, dtype, rank) if rank else None
    return LowRankGaussian(random_dict(generator, dtype), variance, rows, scale=scale)


def dense(law: LowRankGaussian) -> Tensor:
    """s · (diag(v) + D̂ᵀD̂/(k−1)), written out in float64."""
    cov = flatten(law.variance).double().diag()
    if law.deviations is not None:
        rows = flatten(law.deviations, law.mean).double()
        cov = cov + sum(torch.outer(row, row) for row in rows) / (law.rank - 1)
    return law.scale * cov


def flat_draws(law: LowRankGaussian, n: int, generator) -> Tensor:
    return flatten(law.sample(n, generator=generator), law.mean).double()


@pytest.mark.parametrize("rank", [0, 2, 4, 20])
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_draws_have_the_covariance_across_layers(rank, scale, gen):
    # One scale, one covariance: elsewhere it is a standard deviation in one path and a variance in another.
    law = make(gen, rank=rank, scale=scale)
    n = 100_000
    draws = flat_draws(law, n, gen)
    cov = dense(law)
    d = cov.diagonal()
    # A sample covariance of n Gaussians has the variance (ΣᵢᵢΣⱼⱼ + Σᵢⱼ²)/n; of 105 entries none is 5 s.e. off.
    error = ((d[:, None] * d + cov.square()) / n).sqrt()
    centred = draws - flatten(law.mean)
    assert bool(((centred.T @ centred / n - cov).abs() < 5 * error).all())
    assert bool((centred.mean(0).abs() < 5 * (d / n).sqrt()).all())
    if rank:
        # The law between the first and the third tensor is one that a z₂ per tensor would not have.
        assert float((cov[:6, 9:13].abs() / error[:6, 9:13]).max()) > 20


def test_one_z2_serves_all_tensors(gen):
    # Elsewhere: z₂ drawn per tensor, and the low-rank sample loses all covariance across layers. Without the
    # diagonal every draw lies in the span of the columns; drawn per tensor it does not.
    law = make(gen, rank=3)
    law = LowRankGaussian(law.mean, {k: torch.zeros_like(v) for k, v in law.variance.items()}, law.deviations)
    rows = flatten(law.deviations, law.mean)

    def off_the_span(draws: Tensor) -> float:
        solution = torch.linalg.lstsq(rows.T, draws.T).solution
        return float((rows.T @ solution - draws.T).norm() / draws.norm())

    ours = flat_draws(law, 50, gen) - flatten(law.mean)
    per_tensor = torch.cat(
        [
            torch.randn(50, 3, generator=gen, dtype=torch.float64) @ law.deviations[name].reshape(3, -1)
            for name in SHAPES
        ],
        1,
    )
    assert off_the_span(ours) < 1e-12
    assert off_the_span(per_tensor) > 0.1


@pytest.mark.parametrize("rank", [0, 2, 4, 20])
@pytest.mark.parametrize("lead", [(), (5,), (2, 3)])
def test_log_prob_is_the_dense_gaussians(rank, lead, dtype, gen):
    law = make(gen, dtype, rank=rank)
    params = random_dict(gen, dtype, *lead)
    ours = law.log_prob(params)
    oracle = MultivariateNormal(flatten(law.mean).double(), dense(law))
    truth = oracle.log_prob(flatten(params, law.mean).double())
    assert ours.shape == lead
    assert ours.dtype == dtype
    # Inside it is float64; the condition number of these covariances is below 1e3.
    bound = {torch.float32: 1e-6, torch.float64: 1e-11}[dtype]
    assert float(((ours - truth) / truth).abs().max()) < bound


@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_the_torch_distribution_is_the_same_law_and_never_dense(rank, scale, gen):
    law = make(gen, rank=rank, scale=scale)
    made = law.to_distribution()
    assert isinstance(made, LowRankMultivariateNormal if rank else Independent)
    assert torch.allclose(made.mean, flatten(law.mean))
    # Elsewhere, in three projects: a variance passed where a standard deviation is wanted.
    assert torch.allclose(made.variance, dense(law).diagonal(), rtol=1e-12)
    params = random_dict(gen, torch.float64)
    assert math.isclose(float(made.log_prob(flatten(params))), float(law.log_prob(params)), rel_tol=1e-10)


def test_a_million_parameters_need_no_square_matrix(gen):
    size = 10**6
    one = {"w": torch.ones(size)}
    law = LowRankGaussian(one, one, {"w": torch.randn(3, size, generator=gen)})
    assert math.isfinite(float(law.log_prob({"w": torch.zeros(size)})))
    assert law.to_distribution().event_shape == (size,)
    assert law.sample(2, generator=gen)["w"].shape == (2, size)


@pytest.mark.parametrize("rank", [0, 4])
def test_marginal_variance_is_the_diagonal(rank, gen):
    law = make(gen, rank=rank)
    assert torch.allclose(flatten(law.marginal_variance), dense(law).diagonal(), rtol=1e-12)


def test_rescaled_multiplies_the_covariance(gen):
    law = make(gen, scale=0.5)
    assert torch.allclose(dense(law.rescaled(1.5)), 3 * dense(law))
    assert law.scale == 0.5


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float32])
def test_columns_of_another_type_serve(stored, gen):
    law = make(gen, torch.float64)
    lean = LowRankGaussian(
        law.mean, law.variance, {k: t.to(stored) for k, t in law.deviations.items()}, scale=0.5
    )
    draws = lean.sample(3, generator=gen)
    assert draws["0.weight"].dtype == torch.float64
    assert torch.allclose(flatten(lean.marginal_variance), dense(lean).diagonal(), rtol=1e-12)
    assert torch.allclose(dense(lean), dense(law), rtol=0.02, atol=0.05)


def test_the_same_generator_gives_the_same_draws_and_the_global_one_is_left_alone(gen, dtype):
    law = make(gen, dtype)
    before = torch.random.get_rng_state()
    a, b = (law.sample(4, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a[name], b[name]) for name in SHAPES)
    assert {name: t.shape for name, t in a.items()} == {name: (4, *shape) for name, shape in SHAPES.items()}


def test_sampling_and_densities_change_nothing(gen):
    law = make(gen)
    before = (
        flatten(law.mean).clone(),
        flatten(law.variance).clone(),
        flatten(law.deviations, law.mean).clone(),
    )
    law.sample(3, generator=gen)
    law.log_prob(law.mean)
    law.to_distribution().sample()
    after = flatten(law.mean), flatten(law.variance), flatten(law.deviations, law.mean)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_to_moves_and_leaves_the_first(gen):
    law = make(gen)
    single = law.to(dtype=torch.float32, device="cpu")
    assert single.mean["0.bias"].dtype == torch.float32
    assert law.mean["0.bias"].dtype == torch.float64
    assert torch.allclose(dense(single), dense(law), rtol=1e-5)


ONE = {"w": torch.ones(2)}
ROWS = {"w": torch.ones(3, 2)}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LowRankGaussian(torch.ones(2), ONE), TypeError, "mean must be a dict"),
        (lambda: LowRankGaussian({}, {}), TypeError, "mean must be a dict"),
        (
            lambda: LowRankGaussian({"w": [1.0]}, ONE),
            TypeError,
            r"mean\['w'\] must be a floating tensor, got list",
        ),
        (lambda: LowRankGaussian({"w": torch.ones(2).long()}, ONE), TypeError, "got torch.int64"),
        (lambda: LowRankGaussian(ONE, {"v": torch.ones(2)}), ValueError, "variance must have the names"),
        (
            lambda: LowRankGaussian(ONE, {"w": torch.ones(3)}),
            ValueError,
            r"must have the shape \[2\] of the mean",
        ),
        (lambda: LowRankGaussian(ONE, {"w": -torch.ones(2)}), ValueError, "variance must not be negative"),
        (
            lambda: LowRankGaussian({"w": torch.full((2,), math.inf)}, ONE),
            ValueError,
            "mean.* must be finite",
        ),
        (
            lambda: LowRankGaussian(ONE, {"w": torch.full((2,), math.nan)}),
            ValueError,
            "did the training diverge",
        ),
        (lambda: LowRankGaussian(ONE, ONE, {"w": torch.ones(1, 2)}), ValueError, "at least 2 rows"),
        (lambda: LowRankGaussian(ONE, ONE, ONE), ValueError, r"shape \[2\] of the mean, got \[\]"),
        (lambda: LowRankGaussian(ONE, ONE, scale=-1.0), ValueError, "scale must be finite and above 0"),
        (lambda: LowRankGaussian(ONE, ONE, scale="1"), TypeError, "scale must be a number"),
        (lambda: LowRankGaussian(ONE, ONE).sample(0), ValueError, "n must be at least 1"),
        (lambda: LowRankGaussian(ONE, ONE).sample(2.0), TypeError, "n must be an int"),
        (lambda: LowRankGaussian(ONE, ONE).log_prob({"v": torch.ones(2)}), ValueError, r"missing \['w'\]"),
        (
            lambda: LowRankGaussian(ONE, {"w": torch.zeros(2)}, ROWS).log_prob(ONE),
            ValueError,
            "2 parameters never moved",
        ),
        (
            lambda: LowRankGaussian(ONE, {"w": torch.zeros(2)}, ROWS).to_distribution(),
            ValueError,
            "variance must be above 0 for a density",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_unflatten_gives_log_prob_its_draws_back(gen):
    law = make(gen)
    draws = law.to_distribution().sample((3,))
    assert law.log_prob(unflatten(draws, law.mean)).shape == (3,)


@pytest.mark.parametrize("of", [LowRankGaussian, Posterior], ids=["its own", "the default"])
@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_the_stream_is_the_sample_in_parts(size, of):
    law = make(torch.Generator().manual_seed(0))
    whole = law.sample(7, generator=torch.Generator().manual_seed(1))
    parts = [part.parameters for part in of.stream(law, 7, size, generator=torch.Generator().manual_seed(1))]
    assert [len(part["scalar"]) for part in parts[:-1]] == [size] * (len(parts) - 1)
    for name, draws in whole.items():
        # The same random numbers; the product with the deviations may round otherwise for fewer rows.
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), draws, rtol=1e-13, atol=1e-13)
