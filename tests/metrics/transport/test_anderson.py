import torch

from metrics.transport._anderson import Anderson


def linear_map(gen, size=6):
    """z → A z + b with eigenvalues in [0, 1), as Sinkhorn's, and its fixed point."""
    basis = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=gen)).Q
    matrix = basis * torch.linspace(0, 0.99, size, dtype=torch.float64) @ basis.T
    b = torch.randn(size, dtype=torch.float64, generator=gen)
    return matrix, b, torch.linalg.solve(torch.eye(size, dtype=torch.float64) - matrix, b)


def test_is_exact_on_a_linear_map_after_as_many_steps_as_it_has_dimensions(gen):
    """As GMRES is; the ridge of 1e-9 and conditioning leave about its square root relative to the start."""
    matrix, b, fixed = linear_map(gen)
    mixing, z = Anderson(6, b.device), torch.zeros_like(b)
    for _ in range(8):
        z = mixing.step(z, matrix @ z + b - z)
    plain = torch.zeros_like(b)
    for _ in range(8):
        plain = matrix @ plain + b
    assert (z - fixed).norm() < 1e-4 * fixed.norm()
    assert (plain - fixed).norm() > 0.1 * fixed.norm()


def test_first_step_and_the_one_after_forgetting_are_plain(gen):
    matrix, b, _ = linear_map(gen)
    mixing, z = Anderson(6, b.device), torch.zeros_like(b)
    for _ in range(3):
        residual = matrix @ z + b - z
        z = mixing.step(z, residual)
    mixing.forget()
    residual = matrix @ z + b - z
    torch.testing.assert_close(mixing.step(z, residual), z + residual, rtol=1e-14, atol=1e-14)


def test_memory_is_bounded_and_still_accelerates(gen):
    matrix, b, fixed = linear_map(gen, 40)
    mixing, z = Anderson(40, b.device, memory=4), torch.zeros_like(b)
    for _ in range(60):
        z = mixing.step(z, matrix @ z + b - z)
    assert mixing.residuals.shape == (4, 40)
    assert (z - fixed).norm() < 0.1 * 0.99**60 * fixed.norm()
