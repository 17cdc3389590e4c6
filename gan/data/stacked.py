"""Three digits as the three channels of one picture: 1000 classes, on which dropped modes are counted.

After Stacked MNIST (Srivastava et al. 2017; Lin et al. 2018), of scikit-learn's 8 × 8 digits, or of MNIST itself where
its files are given. A picture's class is the number whose decimal digits its channels show. Training pictures are
stacked of the training part of the digits alone, held-out ones of the other.
"""

import math

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from gan.data.sets import Data, check_classes, digits, looks_like_bytes
from gan.seeds import stream
from metrics.features import ImageClassifier, digits_classifier
from metrics.inputs import check_count, check_entries, check_type, from_array

__all__ = ["stacked_digits", "stacked_labels"]

CHANNELS = 3


def stacked_digits(n: int, *, of: Data | None = None, seed: int = 0) -> Data:
    """Return n training and n held-out pictures [n, 3, height, width] in [−1, 1], with labels 0 … 999.

    Each channel is a digit drawn with replacement and apart from the others, so that the classes are equally likely but
    for the digits' own shares, which are near .1.

    Args:
        n: Pictures in each part; 4·3·28·28 bytes each are .47 GB for 50 000 of MNIST.
        of: Grey images of the ten digits with their labels, `mnist(folder)` for Stacked MNIST; None is `digits()`,
            [n, 3, 8, 8].
        seed: What they are drawn by.

    Raises:
        ValueError: Digits that are no grey images, have no labels, or other classes than 0 … 9.

    >>> data = stacked_digits(10)
    >>> data.train.shape, data.held_out.shape, bool((data.train_labels < 1000).all())
    (torch.Size([10, 3, 8, 8]), torch.Size([10, 3, 8, 8]), True)
    """
    n = check_count(n, "n")
    random = stream("data.stacked", seed)
    source = digits() if of is None else of
    first, second = (_stacked(*part, n, random) for part in _parts(source))
    return Data(f"stacked {source.name}", first[0], second[0], first[1], second[1])


def stacked_labels(
    pictures: Shaped[Tensor, "n c h w"], *, classifier: ImageClassifier | None = None
) -> Int64[Tensor, " n"]:
    """Return the class 0 … 999 of each picture, by a classifier of one digit applied to each channel.

    Args:
        pictures: [n, 3, height, width], pixels in [−1, 1], or the bytes that stand for them.
        classifier: With `logits` of 10 classes of flat images; None is `metrics.features.digits_classifier()`, of
            8 × 8 pixels. For MNIST it is `digits_classifier(data.train, data.train_labels)` of `data = mnist(folder)`.

    >>> data = stacked_digits(100)
    >>> bool((stacked_labels(data.train) == data.train_labels).double().mean() > 0.9)
    True
    """
    pictures = _pixels(pictures)
    judge = digits_classifier() if classifier is None else classifier
    images = pictures.flatten(2).flatten(0, 1)
    if images.shape[1] != judge.weights[0].shape[1]:
        height, width = pictures.shape[2:]
        raise ValueError(
            f"classifier knows digits of {judge.weights[0].shape[1]} pixels, got pictures of {height} × {width}; train "
            f"one of this size: digits_classifier(data.train, data.train_labels) with data = gan.data.mnist(folder)"
        )
    with torch.no_grad():
        shown = judge.logits(images).argmax(1)
    return _number(shown.unflatten(0, (-1, CHANNELS)))


def _pixels(pictures: object) -> Tensor:
    """Pictures [n, 3, height, width] as floats in [−1, 1]; bytes are scaled, numbers to 255 refused."""
    found = from_array(pictures, "pictures")
    if found.ndim != 4 or found.shape[1] != CHANNELS:
        raise ValueError(
            f"pictures must have shape [n, 3, height, width], got {list(found.shape)}; unflatten them"
        )
    if found.dtype == torch.uint8:
        return found.float().div_(127.5).sub_(1)
    whole = not found.is_floating_point()
    if whole or looks_like_bytes(found):
        raise ValueError(
            f"pictures must be pixels in [−1, 1], got {'whole numbers' if whole else 'values from 0 to 255'}; pass "
            f"pictures as uint8, or pictures / 127.5 - 1"
        )
    return check_entries(check_type(found, "pictures"), "pictures")


def _parts(of: Data) -> list[tuple[Tensor, Tensor]]:
    """The images [n, height, width] of both parts with their digits."""
    if not isinstance(of, Data):
        raise TypeError(f"of must be a gan.Data, got {type(of).__name__}; write of=gan.data.mnist(folder)")
    parts = []
    for images, labels in ((of.train, of.train_labels), (of.held_out, of.held_out_labels)):
        shape = of.image_shape
        if shape is not None and tuple(images.shape[1:]) == (math.prod(shape),):
            grey = images.unflatten(1, shape)
        elif shape is None and images.ndim == 4 and images.shape[1] == 1:
            grey = images[:, 0]
        else:
            raise ValueError(
                f"of must hold grey images, got samples of shape {list(images.shape[1:])} with image_shape={shape}; "
                f"give [n, 1, height, width], or image_shape=(height, width) with flattened ones"
            )
        if len(images) == 0:
            raise ValueError("of must hold images in both parts, got none in one of them; see gan.data.split")
        if labels is None:
            raise ValueError(
                "of must have labels 0 … 9 in both parts, got none; gan.data.mnist(folder) has them"
            )
        classes = check_classes(labels, len(images), "labels of `of`")
        if int(classes.max()) > 9:
            raise ValueError(
                f"of must have labels 0 … 9, got classes to {int(classes.max())}; keep the images of ten classes"
            )
        parts.append((grey, classes))
    return parts


def _stacked(images: Tensor, labels: Tensor, n: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    index = torch.randint(len(images), (n, CHANNELS), generator=random)
    return images[index], _number(labels[index])


def _number(digits: Tensor) -> Tensor:
    """The number with three decimal digits."""
    return digits @ digits.new_tensor([100, 10, 1])
