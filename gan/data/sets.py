"""What a data set is: a training part, a held-out part, and what is known of them.

What a measure says of the two parts is its floor, so both must be samples of one distribution: `split` cuts a data set
at random.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from gan.seeds import stream
from metrics.evaluation.classification import class_numbers
from metrics.features import load_digits_split
from metrics.inputs import check_fraction, from_array

__all__ = ["Data", "check_classes", "converted", "digits", "looks_like_bytes", "split"]


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
    samples = from_array(samples, "samples")
    n = len(samples)
    if n < 4:
        raise ValueError(f"samples must hold at least 4 samples to be split, got {n}; give more")
    labels = None if labels is None else check_classes(labels, n, "labels")
    kept = min(max(round(n * (1 - check_fraction(held_out, "held_out"))), 2), n - 2)
    order = torch.randperm(n, generator=stream("data.split", seed))
    first, second = order[:kept], order[kept:]
    if labels is None:
        return Data(name, samples[first], samples[second])
    return Data(name, samples[first], samples[second], labels[first], labels[second])


def check_classes(labels: object, n: int, name: str) -> Int64[Tensor, " n"]:
    """Return classes [n], whole numbers from 0, as int64; a list of numbers is taken too.

    Raises:
        TypeError: Labels that are no numbers.
        ValueError: Another shape, fractions, numbers below 0.

    >>> check_classes([0, 2, 1], 3, "labels")
    tensor([0, 2, 1])
    """
    array = np.asarray(labels) if isinstance(labels, list | tuple) else labels
    if isinstance(array, np.ndarray) and array.dtype.kind not in "iuf":
        raise TypeError(
            f"{name} must be whole numbers, got {array.dtype}; number the classes, "
            f"numpy.unique({name}, return_inverse=True)[1]"
        )
    classes = from_array(array, name)
    if classes.shape != (n,) or classes.is_floating_point() or classes.dtype == torch.bool:
        raise ValueError(
            f"{name} must be whole numbers [{n}], one a sample, got {classes.dtype} {list(classes.shape)}; "
            f"{class_numbers(classes, name)}"
        )
    # Unsigned types of more than 8 bits have no order in torch.
    classes = classes.long()
    if n and bool((classes < 0).any()):
        raise ValueError(f"{name} must be 0 or more, got {int(classes.min())}; number the classes from 0")
    return classes


def converted(samples: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """Return samples in another type, and refuse those whose differences it cannot hold.

    >>> far = torch.tensor([[1e9], [1e9 + 1]], dtype=torch.float64)
    >>> converted(far, torch.float32, "data")
    Traceback (most recent call last):
    ValueError: data must keep their differences in torch.float32, got numbers up to 1e+09 that spread by 0.5; \
subtract their mean first, data - data.mean(0)
    >>> converted(far - far.mean(0), torch.float32, "data")[:, 0]
    tensor([-0.5000,  0.5000])
    """
    made = samples.to(dtype)
    if samples.dtype == torch.float64 and dtype != torch.float64 and len(samples) > 1:
        lost, largest = float((samples - made).abs().max()), float(samples.abs().max())
        spread = float(samples.std(0, correction=0).square().sum().sqrt())
        # What float64 itself makes of a constant is no spread.
        if 1e-12 * largest < spread < 10 * lost:
            raise ValueError(
                f"{name} must keep their differences in {dtype}, got numbers up to {largest:.3g} that spread by "
                f"{spread:.2g}; subtract their mean first, {name} - {name}.mean(0)"
            )
    return made


def looks_like_bytes(samples: Tensor) -> bool:
    """Return whether images of floats hold whole numbers from 0 to 255."""
    if samples.ndim != 4 or not samples.is_floating_point():
        return False
    some = samples[:100]
    return bool(
        (some == some.round()).all() and (some >= 0).all() and (some <= 255).all() and (some > 1).any()
    )


def digits() -> Data:
    """Return scikit-learn's handwritten digits, 8×8, in a fixed stratified split of about 900 and 900.

    >>> data = digits()
    >>> data.image_shape, data.train.shape[1], float(data.train.min()), float(data.train.max())
    ((8, 8), 64, -1.0, 1.0)
    """
    train, train_labels, held_out, held_out_labels = load_digits_split()
    return Data("digits", train, held_out, train_labels, held_out_labels, image_shape=(8, 8))
