"""A file of arrays as data: `.npy`, `.npz` or `.safetensors`, never unpickled."""

from pathlib import Path

import torch
from torch import Tensor

from gan.data.sets import Data, check_classes, converted, split
from metrics import files
from metrics.inputs import as_tensor

__all__ = ["file"]

SAMPLES = ("train", "samples", "images", "x", "data", "arr_0")
HELD_OUT = ("held_out", "test", "val", "x_test")
LABELS = ("train_labels", "labels", "y", "targets")
HELD_OUT_LABELS = ("held_out_labels", "test_labels", "y_test")


def file(path: str | Path, *, held_out: float = 0.2, seed: int = 0) -> Data:
    """Return the data in a file of arrays, in memory.

    A `.npy` file is one array of samples `[n, ...]`. Of a `.npz` or `.safetensors` file the array of samples is called
    `train`, `samples`, `images`, `x`, `data` or `arr_0`, or it is the only one; `held_out` (or `test`) is the
    held-out part, `labels` (or `train_labels`) and `held_out_labels` the classes. Without a held-out array a random
    share is held out. Bytes are pictures: `[n, h, w]`, `[n, h, w, c]` or `[n, c, h, w]` with c = 1 or 3 becomes `[n,
    c, h, w]`. Other types become float32.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another format, pickled content, or no array of samples; the message lists what is there.
    """
    path = Path(path)
    arrays = files.read_arrays(path)
    chosen = {key: _first(arrays, names) for key, names in _NAMES.items()}
    samples = next(iter(arrays.values())) if chosen["train"] is None and len(arrays) == 1 else chosen["train"]
    if samples is None:
        raise ValueError(
            f"{path} must hold an array called {', '.join(SAMPLES)}, got {sorted(arrays)}; rename one"
        )
    train = _samples(samples, path)
    labels = _labels(chosen["labels"], train, f"labels in {path}")
    if chosen["held_out"] is None:
        return split(path.stem, train, labels, held_out=held_out, seed=seed)
    other = _samples(chosen["held_out"], path)
    if train.shape[1:] != other.shape[1:] or train.dtype != other.dtype:
        raise ValueError(
            f"{path} must hold training and held-out samples of one shape and type, got {list(train.shape[1:])} "
            f"{train.dtype} and {list(other.shape[1:])} {other.dtype}; save them alike"
        )
    held_out_labels = _labels(chosen["held_out_labels"], other, f"held-out labels in {path}")
    return Data(path.stem, train, other, labels, held_out_labels)


_NAMES = {"train": SAMPLES, "held_out": HELD_OUT, "labels": LABELS, "held_out_labels": HELD_OUT_LABELS}


def _first(arrays: dict[str, Tensor], names: tuple[str, ...]) -> Tensor | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _labels(labels: Tensor | None, samples: Tensor, name: str) -> Tensor | None:
    if labels is None:
        return None
    column = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    whole = column.is_floating_point() and bool((column == column.round()).all())
    return check_classes(column.long() if whole else column, len(samples), name)


def _samples(array: Tensor, path: Path) -> Tensor:
    """Samples in the types and shapes that a GAN trains on."""
    if array.ndim < 2:
        raise ValueError(
            f"{path} must hold samples [n, ...], got shape {list(array.shape)}; give each sample a row"
        )
    if array.is_complex() or array.dtype == torch.bool:
        raise ValueError(f"{path} must hold real numbers, got {array.dtype}; save them as float32")
    if array.dtype == torch.uint16 and array.ndim > 2:
        raise ValueError(
            f"{path} must hold pictures in bytes, got {array.dtype}; save ((array + 128.0) // 257).astype('uint8')"
        )
    if array.dtype != torch.uint8:
        given = as_tensor(array, str(path))
        numbers = (
            converted(given, torch.float32, "samples") if bool(given.isfinite().all()) else given.float()
        )
        bad = int((~numbers.isfinite()).flatten(1).any(1).sum())
        if bad:
            raise ValueError(
                f"{path} must hold finite float32 numbers, got {bad} samples without; drop or mend them"
            )
        return numbers
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        return array.permute(0, 3, 1, 2).contiguous()
    return array
