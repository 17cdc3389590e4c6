import pytest
import torch

from bayessgd.theory import kl_to_posterior, optimal_scale
from tests.bayessgd.theory.quadratics import random_matrix
from tests.targets import Gaussian

EYE2 = torch.eye(2, dtype=torch.float64)


@pytest.mark.parametrize("d", [1, 3, 6])
def test_agrees_with_an_independent_gaussian_kl(d, gen):
    cov, A, delta = (
        random_matrix(d, gen) / 50,
        random_matrix(d, gen),
        torch.randn(d, dtype=torch.float64, generator=gen),
    )
    posterior = Gaussian(torch.zeros(d, dtype=torch.float64), torch.linalg.inv(100 * A))
    expected = Gaussian(delta, cov).kl(posterior)
    assert float(kl_to_posterior(cov, A, num_data=100, offset=delta)) == pytest.approx(expected, rel=1e-9)
    centred = Gaussian(torch.zeros_like(delta), cov).kl(posterior)
    assert float(kl_to_posterior(cov, A, num_data=100)) == pytest.approx(centred, rel=1e-9)


def test_zero_at_the_posterior(gen):
    A = random_matrix(5, gen)
    # Rounding of a trace and a log-determinant of order d, times the condition of A, below 1e3.
    assert abs(float(kl_to_posterior(torch.linalg.inv(100 * A), A, num_data=100))) < 1e-12


def test_temperature_is_a_smaller_data_set(gen):
    A = random_matrix(3, gen)
    assert abs(float(kl_to_posterior(torch.linalg.inv(25 * A), A, num_data=100 / 4))) < 1e-12


def test_singular_covariance_is_infinitely_far():
    cov = torch.tensor([[1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    assert kl_to_posterior(cov, EYE2, num_data=10) == torch.inf


def test_rounding_of_float32_is_no_distance(gen):
    """Of rank two in three dimensions: infinitely far, and refused where rounding hides it."""
    for r in torch.randn(20, 3, 2, generator=gen):
        try:
            assert kl_to_posterior(r @ r.T, torch.eye(3), num_data=100) == torch.inf
        except ValueError as refusal:
            assert "compute it in float64" in str(refusal)  # noqa: PT017
        wide = r.double() @ r.T.double()
        assert kl_to_posterior(wide, torch.eye(3).double(), num_data=100) == torch.inf


def test_scale_minimises_the_divergence(gen):
    cov, A = random_matrix(4, gen), random_matrix(4, gen)
    scale = float(optimal_scale(cov, A, num_data=100))
    values = [float(kl_to_posterior(s * scale * cov, A, num_data=100)) for s in (1 - 1e-3, 1, 1 + 1e-3)]
    assert values[1] < min(values[0], values[2])
    assert scale == pytest.approx(4 / (100 * float((A @ cov).trace())), rel=1e-12)


def test_scale_recovers_a_temperature(gen):
    A = random_matrix(4, gen)
    assert float(optimal_scale(3 * torch.linalg.inv(100 * A), A, num_data=100)) == pytest.approx(
        1 / 3, rel=1e-10
    )


def test_gradcheck(gen):
    r, s = (torch.randn(2, 2, dtype=torch.float64, generator=gen, requires_grad=True) for _ in range(2))
    delta = torch.randn(2, dtype=torch.float64, generator=gen, requires_grad=True)

    def kl(r, s, delta):
        return kl_to_posterior(r @ r.T + EYE2, s @ s.T + EYE2, num_data=3, offset=delta)

    assert torch.autograd.gradcheck(kl, (r, s, delta))
    assert torch.autograd.gradgradcheck(kl, (r, s, delta))
    assert torch.autograd.gradcheck(lambda r, s: optimal_scale(r @ r.T, s @ s.T + EYE2, num_data=3), (r, s))


@pytest.mark.parametrize(
    ("cov", "A", "num_data", "error", "match"),
    [
        (-EYE2, EYE2, 10, ValueError, "cov must be positive semi-definite"),
        (EYE2, -EYE2, 10, ValueError, "A must be positive definite"),
        (torch.eye(3, dtype=torch.float64), EYE2, 10, ValueError, r"cov must have shape \[2, 2\]"),
        (EYE2.float(), EYE2, 10, TypeError, "same dtype"),
        (EYE2, EYE2, 0, ValueError, "num_data must be finite and above 0"),
        (EYE2, EYE2, "10", TypeError, "num_data must be a number"),
        ([[1.0]], EYE2, 10, TypeError, "cov must be a torch.Tensor"),
    ],
)
def test_refusals(cov, A, num_data, error, match):
    for function in (kl_to_posterior, optimal_scale):
        with pytest.raises(error, match=match):
            function(cov, A, num_data=num_data)


def test_refuses_offsets_and_zero():
    with pytest.raises(ValueError, match="offset must have 2 entries"):
        kl_to_posterior(EYE2, EYE2, num_data=1, offset=torch.zeros(3, dtype=torch.float64))
    with pytest.raises(ValueError, match="cov must have a positive trace"):
        optimal_scale(0 * EYE2, EYE2, num_data=1)
