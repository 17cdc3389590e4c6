"""Points from their midst: the mean and sizes of all of them, however they are cut."""

import pytest
import torch

from metrics.centred import Centred, mean_of, squared_sizes


@pytest.mark.parametrize("block", [1, 40, 2**20])
def test_cuts_change_nothing(gen, dtype, monkeypatch, block):
    monkeypatch.setattr("metrics.centred.BLOCK", block)
    x = torch.randn(17, 3, dtype=dtype, generator=gen) + 5
    mean = mean_of(x)
    torch.testing.assert_close(mean, x.double().mean(0), rtol=1e-15, atol=0)
    sizes = squared_sizes(x, mean)
    torch.testing.assert_close(sizes, (x.double() - mean).square().sum(1), rtol=1e-14, atol=0)
    seen = Centred.of(x, mean)
    assert seen.points is x
    assert seen.centred.dtype == seen.sizes.dtype == torch.float64
    torch.testing.assert_close(seen.sizes, sizes, rtol=1e-14, atol=0)
    assert Centred.of(x, mean, 2 * sizes).sizes[0] == 2 * sizes[0]
