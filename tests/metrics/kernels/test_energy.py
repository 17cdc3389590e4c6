import pytest
import torch
from scipy import stats

from metrics.distances import distances
from metrics.kernels.energy import energy_distance
from metrics.kernels.mmd import mmd2_variance_from_grams
from tests.metrics import dense


def test_equals_scipy_in_one_dimension(gen):
    x = torch.randn(30, 1, dtype=torch.float64, generator=gen)
    y = torch.rand(17, 1, dtype=torch.float64, generator=gen) + 0.3
    want = stats.energy_distance(x[:, 0].numpy(), y[:, 0].numpy())
    assert energy_distance(x, y).item() == pytest.approx(want, rel=1e-12)
    assert energy_distance(x, y, squared=True).item() == pytest.approx(want**2, rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (40, 40), (33, 60)])
@pytest.mark.parametrize("ties", [False, True])
def test_on_the_line_equals_the_means_over_all_pairs(gen, n, m, ties):
    x = torch.randn(n, 1, dtype=torch.float64, generator=gen)
    y = 2 * torch.randn(m, 1, dtype=torch.float64, generator=gen) + 1
    if ties:
        x, y = x.round(), y.round()
    x, y = x.requires_grad_(), y.requires_grad_()
    got = energy_distance(x, y, squared=True)
    want = dense.energy_distance(distances(x, x), distances(x, y), distances(y, y), squared=True)
    # The means over pairs are of the order of 2 and cancel; the sum over gaps does not.
    assert got.item() == pytest.approx(want.item(), rel=1e-12, abs=1e-14)
    if not ties:  # between equal points a subgradient is as good as another
        torch.testing.assert_close(torch.autograd.grad(got, (x, y)), torch.autograd.grad(want, (x, y)))


def test_equal_laws_on_the_line_are_at_zero(gen, dtype):
    """Not to a rounding but exactly, since steps are counted in whole numbers."""
    x = torch.randn(30, 1, dtype=dtype, generator=gen)
    assert energy_distance(x, torch.cat([x, x, x])).item() == 0


def test_scipys_documented_value(dtype):
    assert energy_distance(torch.zeros(1, 1, dtype=dtype), torch.full((1, 1), 2.0, dtype=dtype)).item() == 2


def test_closed_form_of_gaussians(gen):
    """E‖X−Y‖ for N(0, 1) and N(δ, 1) is that of |N(δ, 2)|: a folded normal."""
    n, shift = 1500, 1.0
    x = torch.randn(n, 1, dtype=torch.float64, generator=gen)
    y = torch.randn(n, 1, dtype=torch.float64, generator=gen) + shift
    same = stats.foldnorm(0, scale=2**0.5).mean()
    want = 2 * stats.foldnorm(shift / 2**0.5, scale=2**0.5).mean() - 2 * same
    # The V-statistic is biased upwards by E‖X−X'‖/n + E‖Y−Y'‖/m. To first order it is a mean of the
    # influences 2(E|x − Y| − E|x − X'|) and their mirror, whose spread gives the standard error (about 0.03
    # on 0.54).
    influence_x = 2 * (distances(x, y).mean(1) - distances(x, x).mean(1))
    influence_y = 2 * (distances(y, x).mean(1) - distances(y, y).mean(1))
    se = ((influence_x.var() + influence_y.var()) / n).sqrt().item()
    got = energy_distance(x, y, squared=True).item()
    assert abs(got - want - 2 * same / n) < 4 * se
    assert 4 * se < want / 3


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_scales_as_the_root_of_the_units(gen, dtype, scale):
    x, y = torch.randn(2, 20, 3, dtype=dtype, generator=gen).unbind()
    ratio = energy_distance(scale * x, scale * y) / energy_distance(x, y)
    # The scaled clouds are rounded to `dtype`: D² is a difference of means of about 2 each, here about 0.3.
    assert ratio.item() == pytest.approx(scale**0.5, rel=20 * torch.finfo(dtype).eps)


def test_float32_keeps_the_accuracy_of_its_inputs(gen):
    x, y = torch.randn(2, 200, 5, generator=gen).unbind()
    want = energy_distance(x.double(), y.double())
    got = energy_distance(x, y)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(want.item(), rel=torch.finfo(torch.float32).eps)


def test_identical_clouds_are_at_zero_with_zero_gradient(gen, dtype):
    x = torch.randn(10, 3, dtype=dtype, generator=gen).requires_grad_()
    value = energy_distance(x, x.detach().clone())
    value.backward()
    assert value.item() < 1e-7  # √ of a rounding of 1e-16
    assert torch.isfinite(x.grad).all()
    point = torch.ones(4, 2, dtype=dtype, requires_grad=True)
    value = energy_distance(point, point.detach())
    value.backward()
    assert value.item() == 0
    assert torch.equal(point.grad, torch.zeros_like(point))


@pytest.mark.parametrize("squared", [True, False])
def test_gradient(gen, squared):
    x, y = torch.randn(2, 6, 2, dtype=torch.float64, generator=gen).unbind()
    x, y = x.requires_grad_(), (y[:4] + 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: energy_distance(a, b, squared=squared), (x, y))


def test_is_that_of_all_distances(gen):
    x, y = torch.randn(2, 12, 2, generator=gen).unbind()
    dense_one = dense.energy_distance(distances(x, x), distances(x, y), distances(y, y))
    # The shared matrices are rounded to float32; D² ≈ 0.1 out of means of about 2.
    torch.testing.assert_close(dense_one.float(), energy_distance(x, y), rtol=1e-5, atol=0)


def test_blocks_change_nothing(gen, monkeypatch):
    x, y = torch.randn(2, 40, 3, dtype=torch.float64, generator=gen).unbind()
    whole = energy_distance(x, y[:17])
    monkeypatch.setattr("metrics.distances.BLOCK", 50)
    # Only the order of the sum changes.
    torch.testing.assert_close(energy_distance(x, y[:17]), whole, rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (torch.zeros(3), torch.zeros(2, 1), ValueError, r"x must have shape \[n, d\]"),
        (torch.zeros(3, 2), torch.zeros(2, 3), ValueError, "same number of columns"),
        (torch.zeros(3, 0), torch.zeros(2, 0), ValueError, "x must not be empty"),
        (torch.zeros(3, 2), torch.full((2, 2), torch.inf), ValueError, "y must be finite"),
        (torch.zeros(3, 2), torch.zeros(2, 2, dtype=torch.float64), TypeError, "same dtype"),
        (torch.zeros(3, 2, dtype=torch.float16), torch.zeros(2, 2), TypeError, "float32 or float64"),
    ],
)
def test_refusals(x, y, error, message):
    with pytest.raises(error, match=message):
        energy_distance(x, y)


@pytest.mark.usefixtures("unchecked")
def test_the_standard_error_is_the_spread_over_fresh_samples():
    """Apart, and at one law, where √D² is far from smooth: there the error must not fall short.

    300 pairs: the spread has a relative error of 4 % apart, of up to 8 % at one law, where it is skew."""
    for shift, low, high in ((1.0, 1 - 0.16, 1 + 0.16), (0.0, 1 - 0.32, 1.5)):
        clouds = []
        for seed in range(300):
            gen = torch.Generator().manual_seed(seed)
            x = torch.randn(40, 2, dtype=torch.float64, generator=gen) + shift
            y = torch.randn(60, 2, dtype=torch.float64, generator=gen)
            clouds.append((distances(x, x), distances(x, y), distances(y, y)))
        for squared in (False, True):
            values, errors = [], []
            for shared in clouds:
                values.append(dense.energy_distance(*shared, squared=squared))
                errors.append(dense.energy_stderr(*shared, squared=squared))
            ratio = torch.stack(errors).square().mean().sqrt() / torch.stack(values).std()
            assert low < ratio < high, (shift, squared, ratio)


def test_the_standard_error_of_the_square_is_that_of_the_scaled_u_statistic(gen):
    """V = 2B − (n−1)/n·A − (m−1)/m·C with the means A and C over pairs of distinct points."""
    x, y = (
        torch.randn(9, 2, dtype=torch.float64, generator=gen),
        torch.randn(7, 2, dtype=torch.float64, generator=gen) + 3,
    )
    xx, xy, yy = distances(x, x), distances(x, y), distances(y, y)
    square = dense.energy_stderr(xx, xy, yy, squared=True).square()
    torch.testing.assert_close(square, mmd2_variance_from_grams(-8 / 9 * xx, -xy, -6 / 7 * yy))
    root = dense.energy_stderr(xx, xy, yy)
    torch.testing.assert_close(root, square.sqrt() / (2 * dense.energy_distance(xx, xy, yy)))
