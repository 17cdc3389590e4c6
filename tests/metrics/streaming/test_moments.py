import pytest
import torch

from metrics.streaming.moments import Moments


def moments(cloud, size):
    state = Moments()
    for batch in cloud.split(size):
        state.add(batch)
    return state


@pytest.mark.parametrize("size", [1, 3, 64, 1000])
@pytest.mark.parametrize("d", [1, 5, 40])
def test_equal_mean_and_covariance(gen, size, d):
    cloud = torch.randn(200, d, dtype=torch.float64, generator=gen) @ torch.diag(
        torch.logspace(-3, 3, d).double()
    )
    state = moments(cloud, size)
    assert state.count == 200
    torch.testing.assert_close(state.mean, cloud.mean(0), rtol=1e-12, atol=1e-13 * float(cloud.abs().max()))
    # rtol of the covariance at the size of its two columns.
    scale = cloud.std(0)
    covariance = state.factor.T @ state.factor / 199 / scale / scale[:, None]
    want = cloud.T.cov().reshape(d, d) / scale / scale[:, None]
    torch.testing.assert_close(covariance, want, rtol=0, atol=1e-11)
    assert len(state.factor) <= max(2 * d, 1)


def test_a_large_mean_costs_only_its_own_rounding(gen):
    """At mean 1e6 float64 places a point within 1e-10; Σxxᵀ − nμμᵀ would be off by 1e12 · 1e-16 · √n ~ 1e-2."""
    cloud = torch.randn(300, 4, dtype=torch.float64, generator=gen) + 1e6
    state = moments(cloud, 7)
    # 43 batches each round the mean to 1e-10; a mean that is off by e adds e² to the covariance, and each gap
    # between means e in itself: about 43 · 1e-10.
    torch.testing.assert_close(state.mean, cloud.mean(0), rtol=0, atol=43 * 1.2e-10)
    torch.testing.assert_close(state.factor.T @ state.factor / 299, cloud.T.cov(), rtol=0, atol=43 * 1.2e-10)


def test_a_thin_direction_survives(gen):
    """Standard deviations 1 and 1e-12, rotated: the scatter matrix itself would hold the thin one only to 1e-8."""
    turn = torch.linalg.qr(torch.randn(2, 2, dtype=torch.float64, generator=gen)).Q
    cloud = (
        torch.randn(200, 2, dtype=torch.float64, generator=gen) * torch.tensor([1.0, 1e-12]).double() @ turn
    )
    got, want = (torch.linalg.svdvals(part)[1] for part in (moments(cloud, 9).factor, cloud - cloud.mean(0)))
    # The points themselves round at 1e-16: 1e-16 · √200 of 1e-12 · √200, times the 22 merges and the QRs' constants.
    assert got.item() == pytest.approx(want.item(), rel=1e-2)
