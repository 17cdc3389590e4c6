import pytest
import torch

from metrics.kernels.kernel import Gaussian
from metrics.kernels.mmd import mmd2
from metrics.streaming import MMD


@pytest.mark.parametrize("tile", [1, 7, 32])
@pytest.mark.parametrize("unbiased", [True, False])
def test_tiles_change_nothing(gen, monkeypatch, tile, unbiased):
    monkeypatch.setattr("metrics.kernels.tiles.TILE", tile)
    x, y = torch.randn(2, 15, 2, dtype=torch.float64, generator=gen).unbind()
    mmd = MMD(kernel=Gaussian(1.0), unbiased=unbiased)
    mmd.update(real=x, fake=y[:9])
    want = mmd2(x, y[:9], kernel=Gaussian(1.0), unbiased=unbiased)
    assert mmd.compute().item() == pytest.approx(want.item(), abs=1e-14)


def test_biased_one_is_not_negative(gen):
    x = torch.randn(50, 2, generator=gen)
    mmd = MMD(kernel=Gaussian(1.0), unbiased=False)
    mmd.update(real=x, fake=x.flip(0))
    assert 0 <= mmd.compute() < 1e-7


def test_refuses_a_kernel_by_name_and_single_points():
    with pytest.raises(TypeError, match=r"kernel must be callable on two clouds, got .rbf."):
        MMD(kernel="rbf")  # type: ignore[arg-type]
    mmd = MMD(kernel=Gaussian(1.0))
    mmd.update(real=torch.zeros(1, 2), fake=torch.zeros(2, 2))
    with pytest.raises(ValueError, match="real must hold at least 2 samples, got 1"):
        mmd.compute()
