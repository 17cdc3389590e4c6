"""KID and CMMD against torch-fidelity's numbers and the definition by hand."""

import pytest
import torch

from metrics.kernels import Gaussian, Polynomial, clip_mmd, kernel_inception_distance, mmd2, mmd2_variance


def waves():
    i, j = torch.meshgrid(torch.arange(40.0).double(), torch.arange(5.0).double(), indexing="ij")
    return torch.sin(1 + 3 * i + 7 * j * j), 1.2 * torch.cos(2 * i + 5 * j) + 0.3


def test_one_subset_of_all_is_torch_fidelitys_number():
    """torch-fidelity 0.4.0, kid_features_to_metric with subsets of all 40 points."""
    x, y = waves()
    found = kernel_inception_distance(x, y, subsets=3, subset_size=40)
    assert found.mean.item() == pytest.approx(KID, rel=1e-10)
    assert found.std.item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(found.mean, mmd2(x, y, kernel=Polynomial()))
    two = kernel_inception_distance(x[:2], y[:2], subsets=1, subset_size=2)
    torch.testing.assert_close(two.mean, mmd2(x[:2], y[:2], kernel=Polynomial()))


def test_subsets_scatter_around_the_statistic_of_all(gen):
    """The mean of S subsets is off by the subsets' spread over √S, given the points."""
    x, y = 0.3 * torch.randn(2, 200, 3, dtype=torch.float64, generator=gen)
    found = kernel_inception_distance(x + 0.2, y, subsets=200, subset_size=50, generator=gen)
    whole = mmd2(x + 0.2, y, kernel=Polynomial())
    assert (found.mean - whole).abs() < 4 * found.values.std() / 200**0.5
    # 50 of 200 points have some 3/4 of the variance of 50 fresh ones, whose mean over four parts is known to a half.
    parts = zip(x.split(50), y.split(50), strict=True)
    fresh = torch.stack([mmd2_variance(a + 0.2, b, kernel=Polynomial()) for a, b in parts]).mean()
    assert found.std.square() / fresh == pytest.approx(0.75, abs=0.4)
    pairs = kernel_inception_distance(x + 0.2, y, subsets=4000, subset_size=2, generator=gen)
    assert (pairs.mean - whole).abs() < 4 * pairs.values.std() / 4000**0.5
    again = kernel_inception_distance(x + 0.2, y, subsets=200, subset_size=50, generator=gen)
    assert again.mean != found.mean


def test_cmmd_is_its_definition():
    """1000·(mean k_xx + mean k_yy − 2 mean k_xy), exp(−‖x − y‖²/200), as in google-research/cmmd."""
    x, y = (torch.nn.functional.normalize(c) for c in waves())
    k = [torch.exp(-torch.cdist(a, b).square() / 200).mean() for a, b in ((x, x), (y, y), (x, y))]
    assert clip_mmd(x, y).item() == pytest.approx(1000 * float(k[0] + k[1] - 2 * k[2]), rel=1e-9)
    plain = mmd2(x, y, kernel=Gaussian(10.0), unbiased=False)
    assert clip_mmd(x, y).item() == pytest.approx(1000 * plain.item(), rel=1e-9)
    assert clip_mmd(x, x).item() == pytest.approx(0, abs=1e-9)
    assert clip_mmd(x, y, bandwidth=1.0, scale=2.0) == pytest.approx(
        2 * mmd2(x, y, kernel=Gaussian(1.0), unbiased=False).item()
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: kernel_inception_distance(x, x), "subset_size must be at most .* got 1000; lower it"),
        (lambda x: kernel_inception_distance(x, x, subset_size=1), "subset_size must be at least 2"),
        (lambda x: kernel_inception_distance(x, x, subsets=0), "subsets must be at least 1"),
        (lambda x: clip_mmd(x, x[:, :2]), "x and y must have"),
        (lambda x: clip_mmd(x, x, bandwidth=0), "bandwidth must be finite and above 0"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.randn(30, 3))


KID = 0.8748144285253172
