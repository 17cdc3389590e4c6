"""What one image wishes of every number in the network.

A network that does not know anything yet is shown one digit. Each output wishes to go towards its label, by −∂C/∂a;
so it wishes for a bias, for weights in proportion to the activations behind them, and for other activations there, in
proportion to its weights. The ten outputs' wishes for an activation add up, and the layer before takes that sum as
what its own outputs should do.

Every slope by hand is held against autograd's, which gets the same network in torch's own functions.
"""

from dataclasses import replace

import torch
from backprop_network import CROSS_ENTROPY, RELU, SOFTMAX, STOCHASTIC, TANH, Model, Step
from backprop_parts import Part, Setting, seeded
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Generator, Tensor
from torch.nn import functional as F

from metrics.plots import COLOURS

__all__ = ["Named", "by_autograd", "by_hand", "wishes"]

Named = dict[str, Tensor]
SHOWN = 2
"""The class of the image."""
BLUE, RED = COLOURS[0], COLOURS[3]


def by_hand(model: Model, theta: Tensor, x: Tensor, y: Tensor, generator: Generator | None = None) -> Named:
    """Return every slope of the mean cost by the blackboard's formulas: ∂C/∂a, ∂C/∂z, ∂C/∂W, ∂C/∂b, layer by layer.

    Slopes in activations and sums are the images' own costs'.
    """
    slopes = model.backward(model.forward(theta, x, generator), y)
    named = {"a1": slopes[0].a_in()}
    for l, s in enumerate(slopes, start=2):
        named |= {f"a{l}": s.a, f"z{l}": s.z, f"W{l}": s.W(), f"b{l}": s.b()}
    return named


def by_autograd(
    model: Model, theta: Tensor, x: Tensor, y: Tensor, generator: Generator | None = None
) -> Named:
    """Return the same slopes by torch's autograd, of a network written with torch's own functions."""
    a = x.clone().requires_grad_()
    places = {"a1": a}
    z = a
    for l, (W, b) in enumerate(model.layers(theta), start=2):
        W, b = W.clone().requires_grad_(), b.clone().requires_grad_()
        z = F.linear(a, W, b)
        a = _fire(model, z, generator) if l < len(model.sizes) else _last(model, z)
        places |= {f"a{l}": a, f"z{l}": z, f"W{l}": W, f"b{l}": b}
    found = torch.autograd.grad(_cost(model, a, y), list(places.values()))
    return {
        name: slope if name[0] in "az" else slope / len(x) for name, slope in zip(places, found, strict=True)
    }


def _fire(model: Model, z: Tensor, generator: Generator | None) -> Tensor:
    if model.hidden is STOCHASTIC:
        bit = model.hidden.fire(z.detach(), generator)
        # The straight-through rule as programs write it: the value of the bit, the slope of its mean.
        return z.sigmoid() + (bit - z.sigmoid()).detach()
    return {TANH: F.tanh, RELU: F.relu}.get(model.hidden, F.sigmoid)(z)


def _last(model: Model, z: Tensor) -> Tensor:
    return z.softmax(-1) if model.output is SOFTMAX else _fire(replace(model, hidden=model.output), z, None)


def _cost(model: Model, a: Tensor, y: Tensor) -> Tensor:
    if model.cost is not CROSS_ENTROPY:
        return F.mse_loss(a, y, reduction="sum")
    if model.output is SOFTMAX:
        return -(y * a.log()).sum()
    return F.binary_cross_entropy(a, y, reduction="sum")


def wishes(setting: Setting) -> Part:
    """Show one image to a network that knows nothing, and draw what everything in it wishes."""
    model, generator = setting.model, seeded(setting, 1)
    theta = model.start(generator=generator)
    chosen = int((setting.y[:, SHOWN] > 0).nonzero()[0])
    x, y = setting.x[[chosen]], setting.y[[chosen]]
    hand = by_hand(model, theta, x, y, seeded(setting, 2))
    auto = by_autograd(model, theta, x, y, seeded(setting, 2))
    worst = max(float((hand[name] - auto[name]).abs().max()) for name in hand)
    steps = model.forward(theta, x, seeded(setting, 2))
    cost = float(model.cost.value(model.output, steps[-1].z, steps[-1].a, y))
    layers = " - ".join(str(size) for size in model.sizes)
    return Part(
        title="One image and what it wishes for",
        text=f"A {layers} network with random weights ({model.kind}) sees one {int(y.argmax())}; C = {cost:.2f}. "
        "Colours are wishes, minus the slope of the cost, each panel on its own scale. The wish for a weight is the "
        "wish of the sum that it enters, times the activation behind it; the wishes of all outputs for one activation "
        "add up.",
        rows=[
            ("network", f"{layers}: {model.size:,} parameters ({model.kind})"),
            ("largest difference by hand − autograd, one image, all slopes", f"{worst:.1e}"),
        ],
        numbers={"parameters": model.size, "cost": cost, "worst_difference": worst},
        figure=_draw(setting.image_shape, steps, y, hand),
    )


def _draw(shape: tuple[int, int], steps: list[Step], y: Tensor, slopes: Named) -> Figure:
    figure = Figure(figsize=(13, 7.3), layout="constrained")
    axes = figure.subplots(2, 3, width_ratios=(1, 1.15, 2.1))
    last, L = steps[-1], len(steps) + 1
    axes[0, 0].imshow(steps[0].a_in[0].view(shape).numpy(), cmap="gray_r", vmin=0, vmax=1)
    axes[0, 0].set_title(f"the image: a {int(y.argmax())}\nred: to be more, blue: less")
    axes[0, 0].set_axis_off()
    _arrows(axes[0, 1], last.a[0], -slopes[f"a{L}"][0], "output")
    axes[0, 1].set_title(r"outputs $a_j$, and their wishes $-\partial C/\partial a_j$")
    weights = -torch.cat([slopes[f"b{L}"][:, None], slopes[f"W{L}"]], 1)
    drawn = _heat(axes[0, 2], weights, ["bias", *map(str, range(weights.shape[1] - 1))])
    axes[0, 2].set_title(
        r"... for weights, $-\partial C/\partial w_{jk} = -a_k\,\partial C/\partial z_j$, and bias"
    )
    axes[0, 2].set(xlabel="from hidden unit $k$", ylabel="to output $j$")
    figure.colorbar(drawn, ax=axes[0, 2], fraction=0.05)
    each = -slopes[f"z{L}"][0][:, None] * last.W
    # A blank row keeps the sum apart from what it sums.
    stacked = torch.cat([each, torch.full_like(each[:1], torch.nan), each.sum(0, keepdim=True)])
    drawn = _heat(axes[1, 2], stacked, list(map(str, range(each.shape[1]))))
    axes[1, 2].set_yticks([*range(10), 11], [*map(str, range(10)), "sum"])
    axes[1, 2].set_title(r"... for the activations before, $-w_{jk}\,\partial C/\partial z_j$")
    axes[1, 2].set(xlabel="hidden unit $k$", ylabel="wish of output $j$")
    figure.colorbar(drawn, ax=axes[1, 2], fraction=0.05)
    _arrows(axes[1, 1], last.a_in[0], -slopes[f"a{L - 1}"][0], "hidden unit")
    axes[1, 1].set_title(r"the layer before: $a_k$, and the sum")
    sheet = _sheet(-slopes["W2"], shape)
    axes[1, 0].imshow(sheet.numpy(), cmap="RdBu_r", vmin=-_reach(sheet), vmax=_reach(sheet))
    axes[1, 0].set_title("... and the first layer's weights:\nthe image, wanted or not")
    axes[1, 0].set_axis_off()
    return figure


def _arrows(axis: Axes, values: Tensor, wish: Tensor, name: str) -> None:
    """Bars of activations, and an arrow on each as long as its wish: the longest as long as half the axis."""
    places = list(range(len(values)))
    reach = max(1.0, float(values.abs().max()))
    # Behind outputs that are all off nothing is wished for.
    lengths = 0.5 * reach * wish / _reach(wish)
    axis.barh(places, values.tolist(), color="0.8", height=0.75)
    for place, value, length in zip(places, values.tolist(), lengths.tolist(), strict=True):
        colour = RED if length > 0 else BLUE
        axis.annotate(
            "",
            xy=(value + length, place),
            xytext=(value, place),
            arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.6, "shrinkA": 0, "shrinkB": 0},
        )
    axis.axvline(0, color="0.4", lw=0.8)
    axis.set_yticks(places)
    axis.set(ylim=(len(places) - 0.5, -0.5), xlim=(-0.55 * reach, 1.55 * reach))
    axis.set(ylabel=name, xlabel=f"activation; the longest arrow: a wish of {float(wish.abs().max()):.2g}")


def _heat(axis: Axes, values: Tensor, names: list[str]) -> AxesImage:
    reach = _reach(values)
    drawn = axis.imshow(values.numpy(), cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
    axis.set_xticks(range(len(names)), names)
    axis.set_yticks(range(len(values)))
    return drawn


def _reach(values: Tensor) -> float:
    return max(float(values.nan_to_num(0.0).abs().max()), 1e-12)


def _sheet(rows: Tensor, shape: tuple[int, int]) -> Tensor:
    """Sixteen rows of weights as a sheet of 4 × 4 small images."""
    height, width = shape
    blank = rows.new_full((16, height + 1, width + 1), torch.nan)
    blank[: len(rows), :-1, :-1] = rows[:16].view(-1, height, width)
    return blank.view(4, 4, height + 1, width + 1).permute(0, 2, 1, 3).reshape(4 * (height + 1), -1)
