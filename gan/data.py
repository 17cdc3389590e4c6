"""Data for small generators.

Images have pixels in [−1, 1] and are flattened row by row. Modes are counted on the two mixtures:

    ring   8 Gaussians at angles 2πk/8 on the circle of radius 1, σ = .01
    grid   25 Gaussians at {−4, −2, 0, 2, 4}², σ = .05

as in PacGAN (Lin et al. 2018, section 4.1), whose scores depend on σ. Every data set comes as a training and
a held-out half: what a measure says of the two is its floor.
"""

import gzip
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from gan.seeds import stream
from metrics.features import load_digits_split
from metrics.inputs import check_count

__all__ = ["Data", "digits", "grid", "mnist", "ring", "shift_images"]


@dataclass(frozen=True)
class Data:
    """A data set with a training and a held-out part.

    Attributes:
        name: What to call it in a report.
        train: Samples `[n, d]`, float32.
        held_out: Samples `[m, d]` that no training sees.
        train_labels: Classes, or mixture components, `[n]`.
        held_out_labels: The same `[m]`.
        image_shape: (height, width) if the samples are images flattened row by row, else None.
        centres: The mixture's centres `[k, d]`, else None.
        std: The standard deviation of each of the mixture's components, else None.
    """

    name: str
    train: Float[Tensor, "n d"]
    held_out: Float[Tensor, "m d"]
    train_labels: Int64[Tensor, " n"] | None = None
    held_out_labels: Int64[Tensor, " m"] | None = None
    image_shape: tuple[int, int] | None = None
    centres: Float[Tensor, "k d"] | None = None
    std: float | None = None


def digits() -> Data:
    """Return scikit-learn's handwritten digits, 8×8, in a fixed stratified split of about 900 and 900.

    >>> data = digits()
    >>> data.image_shape, data.train.shape[1], float(data.train.min()), float(data.train.max())
    ((8, 8), 64, -1.0, 1.0)
    """
    train, train_labels, held_out, held_out_labels = load_digits_split()
    return Data("digits", train, held_out, train_labels, held_out_labels, image_shape=(8, 8))


def ring(n: int, *, seed: int = 0) -> Data:
    """Return n training and n held-out points of the ring of eight Gaussians.

    >>> ring(100).centres.shape
    torch.Size([8, 2])
    """
    angles = 2 * math.pi * torch.arange(8) / 8
    return _mixture("ring", torch.stack([angles.cos(), angles.sin()], 1), 0.01, n, seed)


def grid(n: int, *, seed: int = 0) -> Data:
    """Return n training and n held-out points of the grid of 25 Gaussians.

    >>> grid(100).centres.shape
    torch.Size([25, 2])
    """
    ticks = torch.arange(-4.0, 5.0, 2.0)
    return _mixture("grid", torch.cartesian_prod(ticks, ticks), 0.05, n, seed)


def _mixture(name: str, centres: Tensor, std: float, n: int, seed: int) -> Data:
    n = check_count(n, "n")
    generator = stream(f"data.{name}", seed)
    labels = torch.randint(len(centres), (2 * n,), generator=generator)
    points = centres[labels] + std * torch.randn(2 * n, 2, generator=generator)
    return Data(name, points[:n], points[n:], labels[:n], labels[n:], centres=centres, std=std)


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


def shift_images(
    x: Float[Tensor, "n d"],
    image_shape: tuple[int, int],
    *,
    pixels: int = 1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n d"]:
    """Return each image shifted by its own random whole number of pixels, −1 filling what comes into view.

    Both shifts are uniform on −pixels … pixels. No flips: a mirrored digit is another thing, or none.

    Args:
        x: Flattened images.
        image_shape: (height, width).
        pixels: The largest shift, 0 for none.
        generator: The source of the shifts, on any device; torch's own if None.

    >>> x = torch.arange(9.0).reshape(1, 9)
    >>> shift_images(x, (3, 3), generator=torch.Generator().manual_seed(0)).reshape(3, 3)
    tensor([[-1.,  3.,  4.],
            [-1.,  6.,  7.],
            [-1., -1., -1.]])
    """
    height, width = image_shape
    if x.ndim != 2 or x.shape[1] != height * width:
        raise ValueError(
            f"x must have shape [n, {height * width}] for images {image_shape}, got {list(x.shape)}"
        )
    pixels = check_count(pixels, "pixels", least=0)
    device = x.device if generator is None else generator.device
    corners = torch.randint(2 * pixels + 1, (2, len(x), 1), device=device, generator=generator).to(x.device)
    padded = torch.nn.functional.pad(x.reshape(-1, height, width), (pixels,) * 4, value=-1.0)
    rows = corners[0] + torch.arange(height, device=x.device)
    columns = corners[1] + torch.arange(width, device=x.device)
    picture = torch.arange(len(x), device=x.device)[:, None, None]
    return padded[picture, rows[:, :, None], columns[:, None, :]].flatten(1)
