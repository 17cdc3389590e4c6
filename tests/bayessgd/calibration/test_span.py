import torch

from bayessgd.calibration.span import span_of, variance_along
from bayessgd.params import flatten
from bayessgd.posteriors import LowRankGaussian


def gaussian(k, dtype=torch.float64):
    random = torch.Generator().manual_seed(0)
    shapes = {"w": (3, 4), "b": (5,)}
    mean = {name: torch.randn(shape, generator=random, dtype=dtype) for name, shape in shapes.items()}
    variance = {
        name: torch.rand(shape, generator=random, dtype=dtype) + 0.1 for name, shape in shapes.items()
    }
    rows = {name: torch.randn(k, *shape, generator=random, dtype=dtype) for name, shape in shapes.items()}
    return LowRankGaussian(mean, variance, rows, scale=0.7)


def test_an_orthonormal_basis_of_the_deviations(dtype):
    law = gaussian(6, dtype)
    span = span_of(law)
    rows, deviations = flatten(span.basis, law.mean).double(), flatten(law.deviations, law.mean).double()
    unit = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(rows @ rows.T, torch.eye(6).double(), rtol=0, atol=unit)
    torch.testing.assert_close(deviations @ rows.T @ rows, deviations, rtol=unit, atol=10 * unit)


def test_repeated_deviations_count_once():
    law = gaussian(6)
    doubled = {name: torch.cat([t, 0 * t[:2], -2 * t]) for name, t in law.deviations.items()}
    assert len(span_of(LowRankGaussian(law.mean, law.variance, doubled))) == 6


def test_the_variance_along_a_direction():
    law = gaussian(6)
    span = span_of(law)
    rows = flatten(span.basis, law.mean)
    exact = (rows @ law.to_distribution().covariance_matrix @ rows.T).diagonal()
    torch.testing.assert_close(variance_along(law, span), exact)


def test_more_deviations_than_moving_weights_span_all_of_those():
    random = torch.Generator().manual_seed(0)
    variance = torch.tensor([1.0, 0.0, 2.0, 0.0])
    rows = torch.randn(5, 4, generator=random) * variance
    law = LowRankGaussian({"w": torch.zeros(4)}, {"w": variance}, {"w": rows})
    torch.testing.assert_close(span_of(law).basis["w"], torch.eye(4)[[0, 2]])


def test_a_diagonal_gaussian_of_many_weights_spans_no_few_directions():
    assert span_of(LowRankGaussian({"w": torch.zeros(300)}, {"w": torch.ones(300)})) is None
