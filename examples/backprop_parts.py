"""What the parts of the backpropagation example share: the images, the settings, what a part hands in, and SGD."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from backprop_network import RELU, Model
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t as student
from torch import Generator, Tensor
from torch.nn.functional import one_hot
from tqdm import tqdm

from gan import data as datasets
from metrics.estimate import with_error
from metrics.plots import COLOURS

__all__ = [
    "BATCH_SIZE",
    "MNIST_IMAGES",
    "RATES",
    "Curves",
    "Part",
    "Setting",
    "band",
    "interval",
    "load",
    "rate_of",
    "seeded",
    "told",
    "train",
]

RATES = {"sigmoid": 3.0, "tanh": 0.3, "relu": 0.1, "stochastic": 3.0}
"""Steps of SGD for each hidden unit: the best of 0.03, 0.1, 0.3, 1, 3 and 10 by the training cost on the digits, which
for sigmoid units is the same under either cost."""
RELU_OUTPUT_RATE = 0.03
"""Outputs without a bound have slopes without one: longer steps switch them all off, or end in overflow."""
BATCH_SIZE = 16
MNIST_IMAGES = 2000
"""How many of MNIST's training images are taken unless the command line says otherwise."""


@dataclass(frozen=True)
class Setting:
    """What every part is given.

    Attributes:
        x, y: Training images `[n, pixels]` with pixels in [0, 1], and their labels as rows of the identity `[n, 10]`.
        held_x, held_labels: Held-out images `[m, pixels]` and labels `[m]`.
        model: The network that was asked for.
        seeds, steps, seed: Trainings per curve, their length, and the first seed.
        bars: Whether to show progress.
    """

    x: Tensor
    y: Tensor
    held_x: Tensor
    held_labels: Tensor
    model: Model
    seeds: int
    steps: int
    seed: int
    bars: bool

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width."""
        side = round(self.x.shape[1] ** 0.5)
        return side, side


@dataclass(frozen=True)
class Part:
    """What a part found.

    Attributes:
        title: One line.
        text: What the picture shows and how it was made.
        rows: Quantities and values for the table.
        numbers: The same and more, for results.json.
        figure: The picture.
    """

    title: str
    text: str
    rows: list[tuple[str, str]]
    numbers: dict[str, object]
    figure: Figure


@dataclass
class Curves:
    """Trainings side by side: the step, and what was watched then, one value per seed."""

    steps: list[int] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def watch(self, what: Callable[[Tensor], Tensor]) -> Callable[[int, Tensor], None]:
        """Return a watcher for `train` that keeps what this finds in the networks."""

        def kept(step: int, theta: Tensor) -> None:
            self.steps.append(step)
            self.values.append(what(theta))

        return kept

    def stacked(self) -> Tensor:
        """`[moments, seeds]`."""
        return torch.stack(self.values)


def load(folder: Path | None, images: int | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training images, one-hot labels, held-out images and labels: the digits, or MNIST from a folder.

    Raises:
        FileNotFoundError, ValueError: The folder does not hold MNIST, or fewer images than asked for.
    """
    data = datasets.digits() if folder is None else datasets.mnist(folder)
    assert data.train_labels is not None
    assert data.held_out_labels is not None
    if images and images > len(data.train):
        raise ValueError(f"images must be at most {len(data.train)}, as many as there are, got {images}")
    kept = min(images or (len(data.train) if folder is None else MNIST_IMAGES), len(data.train))
    x, held_x = ((part[:kept].double() + 1) / 2 for part in (data.train, data.held_out))
    return x, one_hot(data.train_labels[:kept], 10).double(), held_x, data.held_out_labels[:kept]


def seeded(setting: Setting, stream: int) -> Generator:
    """A generator of the run's seed and of what it is for."""
    return torch.Generator().manual_seed(1000 * setting.seed + stream)


def rate_of(model: Model) -> float:
    """The step of SGD for a network."""
    rate = RATES[model.hidden.name]
    return min(rate, RELU_OUTPUT_RATE) if model.output is RELU else rate


def train(
    model: Model,
    theta: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    rate: float,
    steps: int,
    batch_size: int,
    generator: Generator,
    bar: tqdm,
    watch: Callable[[int, Tensor], None] | None = None,
    every: int = 1,
) -> Tensor:
    """Run SGD, θ ← θ − rate · (1/B) Σ ∂C/∂θ, on all networks `[runs, P]` at once, and return where it ends.

    Batches are drawn iid with replacement, each network its own. `watch` sees every `every`-th step, the first and
    the last.
    """
    runs = theta.shape[:-1]
    # Labels may belong to each network, as a student's do.
    y = y.expand(*runs, *y.shape[-2:])
    for step in range(steps + 1):
        if watch and (step % every == 0 or step == steps):
            watch(step, theta)
        if step == steps:
            break
        rows = torch.randint(len(x), (*runs, batch_size), generator=generator)
        targets = y.gather(-2, rows[..., None].expand(*rows.shape, y.shape[-1]))
        theta = theta - rate * model.gradient(theta, x[rows], targets, generator)[1]
        bar.update(1)
    return theta


def interval(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and half a 95 % interval over the last dimension, two values at least, by Student's t."""
    n = values.shape[-1]
    return values.mean(-1), float(student.ppf(0.975, n - 1)) * values.std(-1) / n**0.5


def told(values: Tensor, scale: float = 100.0) -> str:
    """Mean ± standard error over seeds, in per cent unless scaled otherwise."""
    values = scale * values
    return with_error(float(values.mean()), float(values.std() / len(values) ** 0.5))


def band(axis: Axes, x: Sequence[float], values: Tensor, *, colour: int, label: str, dash: str = "-") -> None:
    """Draw the mean over seeds and its 95 % band; values are `[moments, seeds]`."""
    mean, half = interval(values)
    axis.plot(x, mean, color=COLOURS[colour], ls=dash, label=label)
    axis.fill_between(x, mean - half, mean + half, color=COLOURS[colour], alpha=0.2, lw=0)
