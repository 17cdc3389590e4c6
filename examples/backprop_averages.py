"""Each image wishes for something else; the mean of their wishes is minus the gradient.

Images are taken one by one: the wishes ∂Cₙ/∂θ of each alone, by the blackboard's formulas, then their mean over n of
the N images. Drawn without replacement, the mean of n wishes misses the mean of all by

    E ‖ḡ_n − ḡ‖² = (tr Σ / n) (N − n)/(N − 1),       tr Σ = (1/N) Σ ‖gₙ − ḡ‖²,

so that the error falls like 1/√n while the cost grows like n. The network has learnt a little, so that not all images
wish for the same: a batch of ten then misses by more than the gradient's own length, and SGD averages over its steps.
"""

from dataclasses import replace

import torch
from backprop_parts import BATCH_SIZE, Part, Setting, rate_of, seeded, train
from backprop_wishes import by_autograd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from metrics.plots import COLOURS

__all__ = ["averages", "each_gradient", "mean_error"]

DRAWS = 40
LESSONS = 0.1
"""How much of a training comes first."""


def each_gradient(setting: Setting, theta: Tensor) -> Tensor:
    """Return ∂C/∂θ of every image alone, `[n, P]`: n networks with the same weights, an image each."""
    found = [
        setting.model.gradient(theta, x, y, seeded(setting, 2))[1]
        for x, y in zip(setting.x[:, None].split(200), setting.y[:, None].split(200), strict=True)
    ]
    return torch.cat(found)


def mean_error(gradients: Tensor, n: Tensor) -> Tensor:
    """Return √E‖ḡ_n − ḡ‖² for n gradients drawn without replacement."""
    N = len(gradients)
    trace = (gradients - gradients.mean(0)).square().sum(1).mean()
    return (trace / n * (N - n) / max(N - 1, 1)).sqrt()


def averages(setting: Setting) -> Part:
    """Average the wishes of all images and hold them against the gradient of the mean cost."""
    model = setting.model.smooth()
    setting = replace(setting, model=model)
    theta = _a_little_trained(setting)
    gradients = each_gradient(setting, theta)
    auto = by_autograd(model, theta, setting.x, setting.y)
    whole = torch.cat([auto[f"{kind}{l}"].flatten() for l in range(2, len(model.sizes) + 1) for kind in "Wb"])
    worst = float((gradients.mean(0) - whole).abs().max())
    cosines = torch.nn.functional.cosine_similarity(gradients, whole[None])
    against = float((cosines < 0).double().mean())
    n10 = float(mean_error(gradients, torch.tensor(10.0)) / whole.norm())
    return Part(
        title="The wishes of many, averaged: minus the gradient",
        text=f"A network that has learnt a little ({model.kind}). "
        f"Left: what one image of each class wishes for the biases of the outputs, the mean over all "
        f"{len(gradients)} images, and autograd's minus gradient. Right: how far the mean over n images is from that "
        f"over all, in units of the gradient's length: dots are {DRAWS} draws without replacement, the line is theory.",
        rows=[
            (f"mean of {len(gradients)} images' slopes − autograd's gradient, largest", f"{worst:.1e}"),
            ("images whose own wish goes against the common one", f"{100 * against:.1f} %"),
            ("mean of 10 images' wishes: error over length of the gradient", f"{n10:.2f}"),
        ],
        numbers={"worst_difference": worst, "against": against, "relative_error_of_10": n10},
        figure=_draw(setting, gradients, whole),
    )


def _a_little_trained(setting: Setting) -> Tensor:
    generator = seeded(setting, 3)
    with tqdm(total=round(LESSONS * setting.steps), desc="averages", disable=not setting.bars) as bar:
        return train(
            setting.model,
            setting.model.start(generator=generator),
            setting.x,
            setting.y,
            rate=rate_of(setting.model),
            steps=round(LESSONS * setting.steps),
            batch_size=BATCH_SIZE,
            generator=generator,
            bar=bar,
        )


def _draw(setting: Setting, gradients: Tensor, whole: Tensor) -> Figure:
    figure = Figure(figsize=(13, 6), layout="constrained")
    images, means, right = figure.subplots(1, 3, width_ratios=(5, 1.6, 4.6))
    classes = setting.y.argmax(1)
    first = [int((classes == k).nonzero()[0]) for k in range(10) if bool((classes == k).any())]
    # The parameter vector ends with the ten biases of the outputs.
    _heat(images, -gradients[first][:, -10:].mT, [str(int(classes[k])) for k in first])
    images.set_yticks(range(10), [f"output {j}" for j in range(10)])
    images.set(title="what each image wishes for the biases", xlabel="one image of each class")
    _heat(means, -torch.stack([gradients.mean(0)[-10:], whole[-10:]], 1), ["mean\nof all", "auto-\ngrad"])
    means.set_yticks([])
    means.set_title("minus the gradient")
    for axis, label in ((images, r"wish, $-\partial C/\partial b_j$"), (means, "wish")):
        figure.colorbar(axis.images[0], ax=axis, location="bottom", fraction=0.06, label=label)
    _draw_errors(right, gradients, whole)
    return figure


def _heat(axis: Axes, values: Tensor, names: list[str]) -> None:
    reach = max(float(values.abs().max()), 1e-12)
    axis.imshow(values.numpy(), cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
    axis.set_xticks(range(len(names)), names)


def _draw_errors(axis: Axes, gradients: Tensor, whole: Tensor) -> None:
    N, generator = len(gradients), torch.Generator().manual_seed(0)
    sizes = sorted({min(N, round(2**k)) for k in range(N.bit_length() + 1)} - {N})
    counts, missed = [], []
    for _ in range(DRAWS):
        mixed = gradients[torch.randperm(N, generator=generator)].cumsum(0)
        counts += sizes
        missed += [float((mixed[n - 1] / n - whole).norm() / whole.norm()) for n in sizes]
    axis.scatter(counts, missed, s=10, color=COLOURS[0], alpha=0.35, lw=0, label=f"{DRAWS} draws")
    line = torch.logspace(0, torch.log10(torch.tensor(N - 0.5)), 200, dtype=torch.float64)
    axis.plot(line, mean_error(gradients, line) / whole.norm(), color=COLOURS[3], label="theory, r.m.s.")
    free = mean_error(gradients, torch.tensor(1.0)) / whole.norm() / line.sqrt()
    axis.plot(line, free, color="0.4", ls="--", lw=1, label=r"$\propto 1/\sqrt{n}$, with replacement")
    axis.axhline(1, color="0.8", lw=1)
    axis.axvline(N, color="0.8", lw=1)
    axis.set(xscale="log", yscale="log", ylim=(float(free[-1]) / 6, None))
    axis.set(xlabel="images averaged, n", ylabel=r"$\|\bar g_n - \bar g\|\ /\ \|\bar g\|$")
    axis.set_title(f"how soon the few agree with all {N}")
    axis.legend(frameon=False)
