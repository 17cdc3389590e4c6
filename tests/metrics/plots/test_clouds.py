import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from metrics.plots import COLOURS, draw_clouds


def drawn(axes):
    """The points of the reference and of the samples, in the order of the layers."""
    return [np.asarray(layer.get_offsets()) for layer in axes.collections[:2]]


def test_draws_both_clouds_as_they_are_in_two_dimensions(gen, dtype):
    x, y = torch.randn(30, 2, generator=gen, dtype=dtype), torch.randn(40, 2, generator=gen, dtype=dtype)
    axes = draw_clouds(x, y)
    reference, samples = drawn(axes)
    assert np.array_equal(reference, y.double().numpy())
    assert np.array_equal(samples, x.double().numpy())
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["reference (m = 40)", "samples (n = 30)"]
    assert axes.get_aspect() == 1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x₁", "x₂")
    low, high = axes.viewLim.min, axes.viewLim.max
    for cloud in (reference, samples):
        assert (cloud > low).all()
        assert (cloud < high).all()


def test_more_dimensions_are_projected_on_the_references_principal_axes(gen):
    mix = torch.randn(5, 5, generator=gen, dtype=torch.float64)
    x, y = (torch.randn(n, 5, generator=gen, dtype=torch.float64) @ mix + 3 for n in (30, 60))
    axes = draw_clouds(x, y)
    pca = PCA(2).fit(y.numpy())
    for cloud, points in zip((y, x), drawn(axes), strict=True):
        want = pca.transform(cloud.numpy())
        assert np.allclose(np.abs(points), np.abs(want), rtol=1e-9, atol=1e-12)
    share = round(100 * pca.explained_variance_ratio_[0])
    assert axes.get_xlabel() == f"reference's principal axis 1 ({share}% of variance)"


def test_the_plane_is_the_references_alone_whatever_the_sign_of_its_axes(gen):
    y = torch.randn(50, 4, generator=gen, dtype=torch.float64)
    x = torch.randn(20, 4, generator=gen, dtype=torch.float64)
    first, _ = drawn(draw_clouds(x, y))
    again, _ = drawn(draw_clouds(100 * x, y.flip(0)))
    assert np.allclose(first, again[::-1], atol=1e-12)


def test_contours_hold_their_share_of_the_reference(gen):
    x, y = torch.randn(2, 400, 2, generator=gen)
    axes = draw_clouds(x, y, contours=True)
    (contours,) = axes.collections[2:]
    outer, inner = contours.get_paths()
    for path, share in ((outer, 0.9), (inner, 0.5)):
        inside = sum(path.contains_points(y.numpy())) / 400
        # The density at the points is interpolated from a grid: a point or two may change sides.
        assert inside == pytest.approx(share, abs=0.02)
    assert axes.get_legend().get_texts()[-1].get_text() == "50 % and 90 % of reference"


def test_draws_on_given_axes_and_leaves_matplotlibs_state_alone(gen):
    x, y = torch.randn(2, 20, 2, generator=gen)
    style, figures = dict(plt.rcParams), plt.get_fignums()
    axes = Figure().subplots()
    assert draw_clouds(x, y, ax=axes, names=("model", "digits")) is axes
    assert axes.get_legend().get_texts()[0].get_text() == "digits (m = 20)"
    layer = axes.collections[1]
    assert np.allclose(
        layer.get_facecolor()[0][:3], [int(COLOURS[0][k : k + 2], 16) / 255 for k in (1, 3, 5)]
    )
    assert dict(plt.rcParams) == style
    assert plt.get_fignums() == figures
    draw_clouds(x, y).figure.canvas.draw()


@pytest.mark.parametrize("d", [2, 3])
def test_a_constant_cloud_is_drawn(d):
    axes = draw_clouds(torch.ones(5, d), torch.ones(4, d))
    assert all(np.isfinite(points).all() for points in drawn(axes))
    axes.figure.canvas.draw()


@pytest.mark.parametrize(
    ("x", "y", "contours", "message"),
    [
        (torch.zeros(4, 1), torch.zeros(4, 1), False, "at least two columns for a plane"),
        (torch.zeros(4, 3), torch.zeros(1, 3), False, "at least two samples for a plane"),
        (torch.zeros(4, 3), torch.zeros(4, 2), False, "same number of columns"),
        (torch.zeros(4, 2), torch.zeros(4, 2), True, "must spread over the plane for contours"),
        (torch.zeros(4, 2), torch.arange(8.0).reshape(4, 2), True, "must spread over the plane for contours"),
        (torch.zeros(4, 2), torch.zeros(1, 2), True, "must spread over the plane for contours"),
    ],
)
def test_refusals(x, y, contours, message):
    with pytest.raises(ValueError, match=message):
        draw_clouds(x, y, contours=contours)
