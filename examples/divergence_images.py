"""Images as distributions of ink, and what of them is near by KL, JS, W and S_ε.

An image is a distribution over the places of its pixels: the mass of a pixel is its share of the ink. Between two of
them, p and q on the same pixels,

    KL(p‖q) = Σ p ln(p/q),  a pixel with p = 0 adding 0 and one with q = 0 < p making it infinite;
    JS = ½ KL(p‖m) + ½ KL(q‖m),  m = ½(p + q): at most ln 2, which it is where no pixel has ink in both;
    W_p, S_ε: transport with the cost ‖i − j‖^p between the places i and j, in pixels.

JS is the mutual information of a fair coin and what it picks, `metrics.mutual_information`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from divergence_figures import Canvas, draw_images
from torch import Generator, Tensor

import metrics
from metrics.estimate import with_error
from metrics.features import load_digits_split

__all__ = ["Part", "Row", "Setting", "compare", "images", "ink", "mean_and_error", "places", "told"]

Row = tuple[str, str, str, str, str]
"""What, where, found ± standard error, the number of repeats, theory."""
SIDE, MARGIN = 8, 3
CANVAS = SIDE + 2 * MARGIN
EPS = {"root S": 0.1, "root S, blurred": 1.0}
"""ε of the images' S_ε, in squared pixels."""
SPECK = 0.01
ROUNDING = 1e-8
VARIANTS = ("a hole", "a speck", "moved by a pixel", "another of its class", "another class")


@dataclass(frozen=True)
class Setting:
    """What every part is given: how many digits, sizes and repeats, and the seed of all draws."""

    digits: int
    sizes: Sequence[int]
    repeats: int
    grain: int
    seed: int

    def generator(self, stream: int) -> Generator:
        """A generator of the run's seed and of what it is for."""
        return torch.Generator().manual_seed(10000 * self.seed + stream)


@dataclass(frozen=True)
class Part:
    """What a part found: numbers for results.json, rows for the table, and its picture of `size` inches."""

    numbers: dict[str, object]
    rows: list[Row]
    draw: Callable[[Canvas], None]
    size: tuple[float, float]


def mean_and_error(values: Sequence[float] | Tensor) -> tuple[float, float]:
    """The mean and its standard error; a scatter of rounding's size is none."""
    x = torch.as_tensor(values, dtype=torch.float64)
    mean, error = float(x.mean()), float(x.std() / len(x) ** 0.5)
    return mean, error if error > ROUNDING * abs(mean) else 0.0


def told(values: Sequence[float] | Tensor) -> str:
    """The mean ± its standard error, in words where all are alike."""
    mean, error = mean_and_error(values)
    return with_error(mean, error) if error else f"{mean:.4g}, all alike"


def ink(images: Tensor) -> Tensor:
    """Pixels in [−1, 1], [n, 64], as ink in sixteenths on a larger canvas, [n, CANVAS, CANVAS]."""
    pixels = ((images.double() + 1) * 8).round().view(-1, SIDE, SIDE)
    return torch.nn.functional.pad(pixels, (MARGIN,) * 4)


def places(height: int, width: int) -> Tensor:
    """The places of the pixels in rows, [height·width, 2]."""
    return torch.cartesian_prod(torch.arange(height).double(), torch.arange(width).double())


def compare(a: Tensor, b: Tensor) -> dict[str, float]:
    """Every divergence of two images, ink of [height, width], as distributions over places."""
    p, q = (x.flatten() / x.sum() for x in (a, b))
    where = places(*a.shape)
    (x, wx), (y, wy) = ((where[m > 0], m[m > 0]) for m in (p, q))
    roots = {}
    for name, eps in EPS.items():
        s = metrics.sinkhorn_divergence(x, y, eps=eps, tol=1e-4, weights_x=wx, weights_y=wy)
        roots[name] = float(s.clamp(min=0).sqrt())
    return {
        "KL": float(metrics.categorical_kl(p[None], q[None])),
        "KL back": float(metrics.categorical_kl(q[None], p[None])),
        "JS": float(metrics.mutual_information(torch.stack([p, q])[:, None])),
        "W2": float(metrics.wasserstein(x, y, weights_x=wx, weights_y=wy)),
        **roots,
    }


def hole(image: Tensor) -> Tensor:
    """Without its darkest pixel."""
    spoiled = image.clone()
    spoiled.view(-1)[image.argmax()] = 0
    return spoiled


def speck(image: Tensor) -> Tensor:
    """With a hundredth of its ink in the corner of the canvas."""
    spoiled = image.clone()
    spoiled[0, 0] = SPECK * image.sum()
    return spoiled


def images(setting: Setting) -> Part:
    """Compare digits with themselves after a small defect, and with other digits."""
    train, labels, *_ = load_digits_split()
    generator = setting.generator(0)
    order = torch.randperm(len(train), generator=generator)
    all_ink, labels = ink(train)[order], labels[order]
    shown, found = [], {name: [] for name in VARIANTS}
    for i in range(setting.digits):
        image = all_ink[i]
        alike = int((labels == labels[i]).nonzero()[:, 0].roll(-1)[(labels[: i + 1] == labels[i]).sum() - 1])
        other = int((labels != labels[i]).nonzero()[i % int((labels != labels[i]).sum()), 0])
        changed = (hole(image), speck(image), image.roll(1, 1), all_ink[alike], all_ink[other])
        scores = [compare(image, x) for x in changed]
        for name, score in zip(VARIANTS, scores, strict=True):
            found[name].append(score)
        if len(shown) < 3 and all(int(labels[i]) != label for label, *_ in shown):
            shown.append((int(labels[i]), image, list(zip(VARIANTS, changed, scores, strict=True))))
    floors = torch.logspace(-12, -2, 11, dtype=torch.float64)
    pairs = ((all_ink[i], all_ink[i].roll(1, 1), all_ink[-1 - i]) for i in range(min(20, setting.digits)))
    curves = torch.stack(
        [torch.stack([floored(a, b, floors) for b in (near, far)]) for a, near, far in pairs]
    )
    numbers: dict[str, object] = {
        "scores": found,
        "floors": floors.tolist(),
        "floored": curves.mean(0).tolist(),
    }
    return Part(
        numbers,
        _image_rows(found),
        lambda canvas: draw_images(canvas, shown, found, floors, curves.mean(0)),
        (14, 12),
    )


def floored(a: Tensor, b: Tensor, floors: Tensor) -> Tensor:
    """KL(a‖b) with a floor δ of mass under every pixel of b, for each δ."""
    p, q = (x.flatten() / x.sum() for x in (a, b))
    smoothed = (q + floors[:, None]) / (1 + floors[:, None] * len(q))
    return metrics.categorical_kl(p.expand_as(smoothed).contiguous(), smoothed)


def _image_rows(found: Mapping[str, list[dict[str, float]]]) -> list[Row]:
    rows: list[Row] = []
    for name, scores in found.items():
        count = str(len(scores))
        endless = sum(s["KL"] == float("inf") for s in scores)
        rows.append(("KL infinite", name, f"{endless} of {count}", count, ""))
        for measure, called in NAMES.items():
            unit = "nats" if measure == "JS" else "pixels"
            known = "1" if name == "moved by a pixel" and measure != "JS" else ""
            rows.append((f"{called}, {unit}", name, told([s[measure] for s in scores]), count, known))
    near, far = found["moved by a pixel"], found["another class"]
    for measure in NAMES:
        right = [100.0 * (a[measure] < b[measure]) for a, b in zip(near, far, strict=True)]
        rows.append(
            (
                f"the moved digit nearer than another class, by {NAMES[measure]}, %",
                "",
                told(right),
                str(len(right)),
                "",
            )
        )
    return rows


NAMES = {"JS": "JS", "W2": "W₂"} | {name: f"√S_ε, ε = {eps:g} px²" for name, eps in EPS.items()}
