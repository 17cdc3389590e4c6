"""MNIST from the four IDX files that its authors published, or from openml.org when asked."""

import gzip
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan.data.sets import Data

__all__ = ["mnist", "read_idx"]


def mnist(data_dir: str | Path | None = None, *, openml: bool = False) -> Data:
    """Return MNIST, 28×28: 60 000 training and 10 000 held-out images.

    Args:
        data_dir: The folder of the four IDX files `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
            `t10k-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`, gzipped (`.gz`) or not; a folder `mnist` or
            torchvision's `MNIST/raw` within it is found as well.
        openml: Fetch it with scikit-learn from openml.org instead, which keeps it in its own cache.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is not what its name says.
    """
    if openml:
        return _mnist_from_openml()
    if data_dir is None:
        raise ValueError("data_dir must name the folder of the four IDX files, got None; or pass openml=True")
    train, held_out = (
        (
            _images(_find(Path(data_dir), f"{part}-images-idx3-ubyte")),
            _find(Path(data_dir), f"{part}-labels-idx1-ubyte"),
        )
        for part in ("train", "t10k")
    )
    return Data(
        "mnist",
        train[0],
        held_out[0],
        _labels(train[1], len(train[0])),
        _labels(held_out[1], len(held_out[0])),
        image_shape=(28, 28),
    )


def _mnist_from_openml() -> Data:
    from sklearn.datasets import fetch_openml  # reaches the network, so only when asked

    table, classes = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False)
    images = _to_pixels(torch.from_numpy(np.asarray(table)))
    labels = torch.from_numpy(np.asarray(classes).astype(np.int64))
    return Data(
        "mnist", images[:60_000], images[60_000:], labels[:60_000], labels[60_000:], image_shape=(28, 28)
    )


def _find(data_dir: Path, name: str) -> Path:
    for folder in (data_dir, data_dir / "mnist", data_dir / "MNIST" / "raw"):
        for spelling in (name, name.replace("-idx", ".idx")):
            for path in (folder / spelling, folder / f"{spelling}.gz"):
                if path.is_file():
                    return path
    raise FileNotFoundError(
        f"{name} or {name}.gz is not in {data_dir}; put MNIST's four IDX files there, pass the folder that "
        "has them, or let scikit-learn fetch them with openml=True"
    )


def read_idx(path: Path, *, magic: int) -> Tensor:
    """Return the unsigned bytes of an IDX file as a uint8 tensor.

    The format: a big-endian magic number, 0x0800 + the number of dimensions (2049 for labels, 2051 for
    images), then each dimension's size as a big-endian 32-bit integer, then the bytes, last dimension
    fastest.
    """
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    found = int.from_bytes(raw[:4], "big")
    if found != magic:
        raise ValueError(
            f"{path} must begin with the magic number {magic}, got {found}; it is not that IDX file"
        )
    ndim = magic & 0xFF
    shape = [int.from_bytes(raw[4 * i : 4 * i + 4], "big") for i in range(1, ndim + 1)]
    body = raw[4 * (ndim + 1) :]
    if len(body) != math.prod(shape):
        raise ValueError(
            f"{path} must hold {math.prod(shape)} bytes for the shape {shape}, got {len(body)}; fetch it anew"
        )
    return torch.frombuffer(bytearray(body), dtype=torch.uint8).reshape(shape)


def _images(path: Path) -> Tensor:
    return _to_pixels(read_idx(path, magic=2051).flatten(1))


def _labels(path: Path, count: int) -> Tensor:
    labels = read_idx(path, magic=2049).long()
    if len(labels) != count:
        raise ValueError(f"{path} must hold one label for each of the {count} images, got {len(labels)}")
    return labels


def _to_pixels(brightness: Tensor) -> Tensor:
    """From 0 … 255 to [−1, 1]."""
    return brightness.float() / 127.5 - 1
