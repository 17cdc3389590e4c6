import numpy as np
import pytest
import torch

from metrics.transport import sinkhorn, sinkhorn_divergence
from metrics.transport.entropic.anderson import Anderson


class Single(Anderson):
    """One iteration."""

    def __init__(self, size, **options):
        super().__init__(1, size, torch.device("cpu"), **options)

    def step(self, z, residual):
        return super().step(z[None], residual[None])[0]


def linear_map(gen, size=6):
    """z → A z + b with eigenvalues in [0, 1), as Sinkhorn's, and its fixed point."""
    basis = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=gen)).Q
    matrix = basis * torch.linspace(0, 0.99, size, dtype=torch.float64) @ basis.T
    b = torch.randn(size, dtype=torch.float64, generator=gen)
    return matrix, b, torch.linalg.solve(torch.eye(size, dtype=torch.float64) - matrix, b)


def test_is_exact_on_a_linear_map_after_as_many_steps_as_it_has_dimensions(gen):
    """As GMRES is; the ridge of 1e-9 and conditioning leave about its square root relative to the start."""
    matrix, b, fixed = linear_map(gen)
    mixing, z = Single(6), torch.zeros_like(b)
    for _ in range(8):
        z = mixing.step(z, matrix @ z + b - z)
    plain = torch.zeros_like(b)
    for _ in range(8):
        plain = matrix @ plain + b
    assert (z - fixed).norm() < 1e-4 * fixed.norm()
    assert (plain - fixed).norm() > 0.1 * fixed.norm()


def test_first_step_and_the_one_after_forgetting_are_plain(gen):
    matrix, b, _ = linear_map(gen)
    mixing, z = Single(6), torch.zeros_like(b)
    for _ in range(3):
        residual = matrix @ z + b - z
        z = mixing.step(z, residual)
    mixing.forget()
    residual = matrix @ z + b - z
    torch.testing.assert_close(mixing.step(z, residual), z + residual, rtol=1e-14, atol=1e-14)


def test_memory_is_bounded_and_still_accelerates(gen):
    matrix, b, fixed = linear_map(gen, 40)
    mixing, z = Single(40, memory=4), torch.zeros_like(b)
    for _ in range(60):
        z = mixing.step(z, matrix @ z + b - z)
    assert mixing.residuals.shape == (1, 4, 40)
    assert (z - fixed).norm() < 0.1 * 0.99**60 * fixed.norm()


def test_strides_double_where_residuals_repeat_and_forgetting_ends_them(gen):
    """At a constant speed r the steps are r, 2r, 4r, 8r: 15 r after four."""
    z, r = (torch.randn(6, dtype=torch.float64, generator=gen) for _ in range(2))
    mixing, at = Single(6), z
    for _ in range(4):
        at = mixing.step(at, r)
    torch.testing.assert_close(at, z + 15 * r)
    mixing.forget()
    torch.testing.assert_close(mixing.step(at, r), z + 16 * r)
    torch.testing.assert_close(mixing.step(at, r), at + 2 * r)
    other = torch.randn(6, dtype=torch.float64, generator=gen)
    assert not torch.allclose(mixing.step(at, other), at + 4 * other)


def drifting(gen):
    """Two pairs of clusters, coupled by e⁻²⁰⁰: plain iterations drift at a constant speed for thousands of steps."""
    left, right = (torch.randn(20, 1, dtype=torch.float64, generator=gen) for _ in range(2))
    return torch.cat([left, left[:10] + 20]), torch.cat([right, right[:11] + 20])


def test_clusters_that_drift_are_solved_in_fewer_iterations(gen):
    assert sinkhorn(*drifting(gen), eps=1.0, tol=1e-9, max_iterations=600).converged


@pytest.mark.parametrize("form", ["whole", "in pieces", "together"])
def test_clusters_that_drift_are_solved_in_every_form(gen, form):
    """A solution that is given up on would warn, which is an error here."""
    x, y = drifting(gen)
    want = sinkhorn_divergence(x, y, eps=1.0, tol=1e-10, max_iterations=50_000)
    if form == "together":
        x, y = x[None], y[None]
    memory = 1 if form == "in pieces" else 2**30
    got = sinkhorn_divergence(x, y, eps=1.0, max_iterations=800, memory=memory)
    assert got.item() == pytest.approx(want.item(), rel=1e-6)


def test_mixing_solves_linear_maps_as_gmres_does(gen):
    """z ← Mz + c in five dimensions: exact after six pairs, each problem by its own; one may forget."""
    m = torch.randn(3, 5, 5, dtype=torch.float64, generator=gen) / 5
    c = torch.randn(3, 5, dtype=torch.float64, generator=gen)
    want = torch.linalg.solve(torch.eye(5) - m, c)
    z = torch.zeros_like(c)
    mixing = Anderson(3, 5, z.device)
    for _ in range(10):
        z = mixing.step(z, torch.einsum("bij,bj->bi", m, z) + c - z)
    torch.testing.assert_close(z, want, rtol=1e-6, atol=1e-8)
    mixing.forget(np.array([True, False, False]))
    z[0] += 1
    plain = torch.einsum("bij,bj->bi", m, z) + c
    torch.testing.assert_close(mixing.step(z, plain - z)[0], plain[0])
