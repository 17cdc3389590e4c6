"""What a data set is: a training part, a held-out part, and what is known of them.

What a measure says of the two parts is its floor, so both must be samples of one distribution: `split` cuts a data set
at random.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from gan.seeds import stream
from metrics.features import load_digits_split
from metrics.inputs import check_fraction

__all__ = ["Data", "digits", "split"]


@dataclass(frozen=True)
class Data:
    """A data set with a training and a held-out part.

    Attributes:
        name: What to call it in a report.
        train: Samples `[n, ...]`: points `[n, d]`, flattened images `[n, height·width]`, or images `[n, c, height,
            width]`; float32, or uint8 for images whose bytes stand for [−1, 1].
        held_out: Samples `[m, ...]` of the same shape that no training sees.
        train_labels: Classes, or mixture components, `[n]`.
        held_out_labels: The same `[m]`.
        image_shape: (height, width) if the samples are grey images flattened row by row, else None.
        centres: The mixture's centres `[k, d]`, else None.
        std: The standard deviation of each of the mixture's components, else None.
    """

    name: str
    train: Shaped[Tensor, "n ..."]
    held_out: Shaped[Tensor, "m ..."]
    train_labels: Int64[Tensor, " n"] | None = None
    held_out_labels: Int64[Tensor, " m"] | None = None
    image_shape: tuple[int, int] | None = None
    centres: Float[Tensor, "k d"] | None = None
    std: float | None = None

    @property
    def is_image(self) -> bool:
        """Whether a sample is a picture, flattened or not."""
        return self.image_shape is not None or self.train.ndim == 4

    @property
    def num_classes(self) -> int:
        """One more than the largest training label; 0 without labels."""
        return 0 if self.train_labels is None else int(self.train_labels.max()) + 1


def split(
    name: str,
    samples: Shaped[Tensor, "n ..."],
    labels: Int64[Tensor, " n"] | None = None,
    *,
    held_out: float = 0.2,
    seed: int = 0,
) -> Data:
    """Cut a data set into a training and a held-out part, at random and without regard to its order.

    Args:
        name: What to call it in a report.
        samples: All samples `[n, ...]`, n ≥ 4.
        labels: Their classes, or None.
        held_out: The share that is held out, in (0, 1); each part gets 2 samples or more.
        seed: The permutation's seed.

    >>> data = split("line", torch.arange(10.0)[:, None])
    >>> len(data.train), len(data.held_out)
    (8, 2)
    """
    n = len(samples)
    if n < 4:
        raise ValueError(f"samples must hold at least 4 samples to be split, got {n}; give more")
    kept = min(max(round(n * (1 - check_fraction(held_out, "held_out"))), 2), n - 2)
    order = torch.randperm(n, generator=stream("data.split", seed))
    first, second = order[:kept], order[kept:]
    if labels is None:
        return Data(name, samples[first], samples[second])
    return Data(name, samples[first], samples[second], labels[first], labels[second])


def digits() -> Data:
    """Return scikit-learn's handwritten digits, 8×8, in a fixed stratified split of about 900 and 900.

    >>> data = digits()
    >>> data.image_shape, data.train.shape[1], float(data.train.min()), float(data.train.max())
    ((8, 8), 64, -1.0, 1.0)
    """
    train, train_labels, held_out, held_out_labels = load_digits_split()
    return Data("digits", train, held_out, train_labels, held_out_labels, image_shape=(8, 8))
