"""Three digits as the three channels of one picture: 1000 classes, on which dropped modes are counted.

After Stacked MNIST (Srivastava et al. 2017; Lin et al. 2018), of scikit-learn's 8 × 8 digits. A picture's class is the
number whose decimal digits its channels show. Training pictures are stacked of the training half of the digits alone,
held-out ones of the other half.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from gan.data.sets import Data
from gan.seeds import stream
from metrics.features import ImageClassifier, digits_classifier, load_digits_split
from metrics.inputs import check_count

__all__ = ["stacked_digits", "stacked_labels"]

CHANNELS = 3


def stacked_digits(n: int, *, seed: int = 0) -> Data:
    """Return n training and n held-out pictures [n, 3, 8, 8] in [−1, 1], with labels 0 … 999.

    Each channel is a digit drawn with replacement and apart from the others, so that the classes are equally likely but
    for the digits' own shares, which are near .1.

    Args:
        n: Pictures in each part.
        seed: What they are drawn by.

    >>> data = stacked_digits(10)
    >>> data.train.shape, data.held_out.shape, bool((data.train_labels < 1000).all())
    (torch.Size([10, 3, 8, 8]), torch.Size([10, 3, 8, 8]), True)
    """
    n = check_count(n, "n")
    random = stream("data.stacked", seed)
    train, train_labels, held_out, held_out_labels = load_digits_split()
    first = _stacked(train, train_labels, n, random)
    second = _stacked(held_out, held_out_labels, n, random)
    return Data("stacked digits", first[0], second[0], first[1], second[1])


def stacked_labels(
    pictures: Float[Tensor, "n c h w"], *, classifier: ImageClassifier | None = None
) -> Int64[Tensor, " n"]:
    """Return the class 0 … 999 of each picture, by a classifier of one digit applied to each channel.

    Args:
        pictures: [n, 3, 8, 8], pixels in [−1, 1].
        classifier: With `logits` of 10 classes; None is `metrics.features.digits_classifier()`.

    >>> data = stacked_digits(100)
    >>> bool((stacked_labels(data.train) == data.train_labels).double().mean() > 0.9)
    True
    """
    if pictures.ndim != 4 or pictures.shape[1] != CHANNELS:
        raise ValueError(
            f"pictures must have shape [n, 3, height, width], got {list(pictures.shape)}; unflatten them"
        )
    judge = digits_classifier() if classifier is None else classifier
    with torch.no_grad():
        digits = judge.logits(pictures.flatten(2).flatten(0, 1)).argmax(1)
    return _number(digits.unflatten(0, (-1, CHANNELS)))


def _stacked(images: Tensor, labels: Tensor, n: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    index = torch.randint(len(images), (n, CHANNELS), generator=random)
    return images[index].unflatten(2, (8, 8)), _number(labels[index])


def _number(digits: Tensor) -> Tensor:
    """The number with three decimal digits."""
    return digits @ digits.new_tensor([100, 10, 1])
