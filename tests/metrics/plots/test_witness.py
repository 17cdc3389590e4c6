import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from metrics.kernels.kernel import Gaussian
from metrics.kernels.witness import mmd_witness
from metrics.plots import draw_witness


def drawn_map(axes):
    (mesh,) = (layer for layer in axes.collections if isinstance(layer, QuadMesh))
    return mesh, np.asarray(mesh.get_coordinates()), np.asarray(mesh.get_array())


@pytest.mark.parametrize("d", [2, 4])
def test_the_map_is_the_witness_at_its_places(gen, dtype, d):
    x, y = torch.randn(2, 40, d, generator=gen, dtype=dtype).unbind()
    x = x + 1
    kernel = Gaussian(1.0)
    mesh, places, values = drawn_map(draw_witness(x, y, kernel=kernel, grid=9))
    flat = torch.as_tensor(places.reshape(-1, 2))
    if d > 2:
        centred = y.double() - y.double().mean(0)
        basis = torch.linalg.svd(centred).Vh[:2].T
        basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
        flat = y.double().mean(0) + flat @ basis.T
    want = mmd_witness(flat.to(dtype), x, y, kernel=kernel).double()
    # The places went through float32 where the clouds are: an error of that times a slope below 1.
    assert np.allclose(values.ravel(), want.numpy(), atol=1e-5 if dtype == torch.float32 else 1e-12)
    assert mesh.norm.vmax == -mesh.norm.vmin == np.abs(values).max()


def test_clouds_lie_on_the_map_and_colours_tell_who_outweighs(gen):
    x, y = torch.randn(30, 2, generator=gen) + 2, torch.randn(50, 2, generator=gen) - 2
    axes = draw_witness(x, y, grid=20, names=("model", "truth"))
    mesh, places, values = drawn_map(axes)
    reference, samples = (np.asarray(layer.get_offsets()) for layer in axes.collections[1:3])
    assert np.allclose(samples, x.numpy())
    assert np.allclose(reference, y.numpy())
    for cloud in (samples, reference):
        assert (cloud.min(0) > places.min((0, 1))).all()
        assert (cloud.max(0) < places.max((0, 1))).all()
    # Blue where the samples are, orange where the reference is: the upper right against the lower left.
    assert values[-1, -1] > 0 > values[0, 0]
    red, _, blue, _ = mesh.cmap(1.0)
    assert blue > red
    red, _, blue, _ = mesh.cmap(0.0)
    assert red > blue
    assert mesh.cmap(0.5)[:3] == pytest.approx((1, 1, 1), abs=0.01)


def test_labels_the_colour_bar_and_leaves_matplotlibs_state_alone(gen):
    x, y = torch.randn(2, 20, 2, generator=gen)
    style, figures = dict(plt.rcParams), plt.get_fignums()
    figure = Figure(layout="constrained")
    given = figure.subplots()
    assert draw_witness(x, y, ax=given, grid=5) is given
    assert figure.axes[1].get_ylabel() == "witness: mean k(samples, t) − mean k(reference, t)"
    texts = [text.get_text() for text in given.get_legend().get_texts()]
    assert texts == ["reference (m = 20)", "samples (n = 20)"]
    assert dict(plt.rcParams) == style
    assert plt.get_fignums() == figures
    figure.canvas.draw()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("same", [False, True])
def test_constant_and_equal_clouds_and_any_scale_are_drawn(gen, scale, same):
    y = scale * torch.randn(10, 2, generator=gen)
    x = y.clone() if same else torch.zeros_like(y)
    for pair in ((x, y), (y, x), (x[:2] * 0, x[:2] * 0)):
        axes = draw_witness(*pair, grid=4)
        assert np.isfinite(drawn_map(axes)[2]).all()
        axes.figure.canvas.draw()


def test_refusals():
    with pytest.raises(ValueError, match="at least two columns for a plane"):
        draw_witness(torch.zeros(4, 1), torch.zeros(4, 1))
    with pytest.raises(ValueError, match="samples must hold at least 2"):
        draw_witness(torch.zeros(1, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="grid must be at least 2"):
        draw_witness(torch.zeros(4, 2), torch.zeros(4, 2), grid=1)
