import pytest
import torch
from torch import nn
from torch.nn import functional as nnf

from bayessgd.noise import Curvature, hessian, lanczos


def of(A):
    return Curvature(product=lambda v: A @ v, size=len(A), like=A[0])


def random_symmetric(d, gen, dtype=torch.float64):
    A = torch.randn(d, d, dtype=dtype, generator=gen)
    return (A + A.T) / 2


def test_all_steps_find_the_whole_spectrum(gen):
    A = random_symmetric(20, gen)
    spectrum = lanczos(of(A), steps=20, generator=gen)
    torch.testing.assert_close(
        spectrum.eigenvalues[0], torch.linalg.eigvalsh(A).flip(0), rtol=1e-10, atol=1e-10
    )
    assert float(spectrum.weights.sum()) == pytest.approx(1, rel=1e-12)


def test_ends_converge_within_their_bounds(gen):
    A = random_symmetric(200, gen)
    exact = torch.linalg.eigvalsh(A)
    spectrum = lanczos(of(A), steps=60, generator=gen)
    distance = (spectrum.eigenvalues[0][:, None] - exact).abs().min(1).values
    assert (distance <= spectrum.bounds[0] + 1e-10).all()
    torch.testing.assert_close(spectrum.top(3), exact.flip(0)[:3], rtol=1e-6, atol=0)
    # No ghosts: reorthogonalisation keeps an eigenvalue from appearing twice.
    assert float(-spectrum.top(10).diff().max()) > 1e-3


def test_top_of_a_network_agrees_with_its_matrix(gen, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)
    x, y = torch.randn(30, 4, dtype=dtype, generator=gen), torch.randint(3, (30,), generator=gen)
    A = hessian(model, nnf.cross_entropy, x, y)
    top = lanczos(A, steps=30, generator=gen).top(2)
    exact = torch.linalg.eigvalsh(A.matrix()).flip(0)[:2]
    torch.testing.assert_close(top, exact, rtol=1e-4 if dtype == torch.float32 else 1e-8, atol=0)


def test_an_invariant_subspace_ends_the_run(gen):
    A = torch.diag(torch.tensor([2.0, 2.0, 2.0, 5.0, 5.0])).double()
    spectrum = lanczos(of(A), steps=5, generator=gen)
    present = spectrum.eigenvalues[0][spectrum.weights[0] > 0]
    torch.testing.assert_close(present, torch.tensor([5.0, 2.0]).double())
    assert (spectrum.bounds < 1e-10).all()


def test_moments_are_unbiased(gen):
    """Gauss quadrature with k nodes is exact to degree 2k − 1, so only the starts scatter."""
    A = random_symmetric(50, gen)
    spectrum = lanczos(of(A), steps=5, num_starts=400, generator=gen)
    for power in (1, 2, 3):
        each = (spectrum.weights * spectrum.eigenvalues**power).sum(1)
        exact = torch.linalg.matrix_power(A, power).trace() / 50
        assert abs(each.mean() - exact) < 4 * each.std() / 20
    torch.testing.assert_close(spectrum.trace, (spectrum.weights * spectrum.eigenvalues).sum(1).mean())


def test_density_integrates_to_one_and_has_the_mass_in_place(gen):
    A = torch.diag(torch.cat([torch.zeros(30), torch.full((10,), 8.0)])).double()
    spectrum = lanczos(of(A), steps=4, num_starts=200, generator=gen)
    grid = torch.linspace(-5, 13, 2001, dtype=torch.float64)
    density = spectrum.density(grid, width=0.5)
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-6)
    upper = grid > 4
    # A quarter; the share of one start is Beta(5, 15), with a deviation of √(.25·.75/21) = 0.094.
    assert float(torch.trapezoid(density[upper], grid[upper])) == pytest.approx(
        0.25, abs=4 * 0.094 / 200**0.5
    )


def test_seeded_by_default(gen):
    A = of(random_symmetric(10, gen))
    assert torch.equal(lanczos(A, steps=3).eigenvalues, lanczos(A, steps=3).eigenvalues)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"curvature": torch.eye(2)}, TypeError, "curvature must be a Curvature"),
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"steps": 4}, ValueError, "steps must be at most the number of parameters, 3"),
        ({"num_starts": 0}, ValueError, "num_starts must be at least 1"),
    ],
)
def test_refusals(change, error, match):
    arguments = {"curvature": of(torch.eye(3)), "steps": 2} | change
    with pytest.raises(error, match=match):
        lanczos(arguments.pop("curvature"), **arguments)


def test_refuses_bad_questions():
    spectrum = lanczos(of(torch.eye(3)), steps=1)
    with pytest.raises(ValueError, match="count must be below 2"):
        spectrum.top(2)
    with pytest.raises(ValueError, match="width must be finite and above 0"):
        spectrum.density(torch.zeros(1), width=0.0)
