"""Pictures of one's own: a folder, or a Hugging Face dataset.

Both become a `Data` with a training and a held-out part. Where the source has two (`train/` and `test/`, two splits)
they are kept; else a random fifth is held out (`split`). Pictures stay bytes `[n, c, height, width]`: a batch is scaled
to [−1, 1] when it is drawn.
"""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from gan.data.sets import Data, check_classes, split
from metrics.features import images
from metrics.inputs import check_count

__all__ = ["ImageFiles", "folder", "hugging_face"]

logger = logging.getLogger("gan")

TRAIN = ("train", "training")
HELD_OUT = ("held_out", "test", "val", "valid", "validation")


class ImageFiles(Dataset):
    """Pictures that are decoded when they are wanted, for folders that do not fit into memory.

    A map-style dataset of bytes `[c, height, width]`, or of pairs with a class: pass it to `GAN.fit`, with
    `workers=` for decoding in other processes.

    Args:
        paths: The files.
        size: (height, width).
        grey: One channel in place of three.
        labels: A class for each file, or None.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        size: tuple[int, int],
        grey: bool = False,
        labels: Sequence[int] | None = None,
    ) -> None:
        if isinstance(paths, str | Path):
            raise TypeError(
                f"paths must be files, got the path {paths}; of a folder pass metrics.features.images.find_images("
                f"{str(paths)!r})"
            )
        if labels is not None and len(labels) != len(paths):
            raise ValueError(
                f"labels must be as many as paths, {len(paths)}, got {len(labels)}; give each file one"
            )
        self.paths, self.size, self.grey = [Path(p) for p in paths], _size(size), grey
        self.labels = None if labels is None else check_classes(labels, len(paths), "labels").tolist()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor | tuple[Tensor, int]:
        pixels = images.read_image(self.paths[index], size=self.size, grey=self.grey)
        return pixels if self.labels is None else (pixels, self.labels[index])


def folder(
    path: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    grey: bool | None = None,
    held_out: float = 0.2,
    seed: int = 0,
    progress: bool = True,
) -> Data:
    """Return the pictures of a folder, in memory as bytes `[n, c, height, width]`.

    A subfolder is a class, numbered in the order of the names, where every picture lies in one. Two subfolders of which
    one is called train (or training) and the other test (val, valid, validation, held_out) are the two parts; else a
    random share is held out. Subfolders without pictures do not count.

    Args:
        path: The folder.
        size: Side, or (height, width), that pictures are cut and resized to; None keeps theirs, which must be one size.
        grey: One channel in place of three; None looks whether all of them are grey.
        held_out: The share that is held out, where the folder does not say.
        seed: What the held-out part is drawn by.
        progress: Show a bar, where there is a terminal.

    Raises:
        FileNotFoundError: No such folder, or no picture in it.
        ValueError: A file that cannot be read, pictures of several sizes, fewer than 4; more parts than two, or one.
    """
    root = Path(path)
    wanted = None if size is None else _size(size)
    parts = _parts(root)
    if grey is None:
        grey = all(_is_grey(path) for path in images.find_images(root))
    if parts is None:
        pixels, labels, _ = _read(root, wanted, grey, progress, None)
        return split(root.name, pixels, labels, held_out=held_out, seed=seed)
    train, train_labels, names = _read(parts[0], wanted, grey, progress, None)
    other, other_labels, _ = _read(parts[1], wanted, grey, progress, names)
    if train.shape[1:] != other.shape[1:]:
        raise ValueError(
            f"pictures must have one size, got {list(train.shape[2:])} in {parts[0]} and {list(other.shape[2:])} in "
            f"{parts[1]}; pass size=(height, width)"
        )
    return Data(root.name, train, other, train_labels, other_labels)


def _read(
    root: Path, size: tuple[int, int] | None, grey: bool, progress: bool, names: list[str] | None
) -> tuple[UInt8[Tensor, "n c h w"], Int64[Tensor, " n"] | None, list[str] | None]:
    """The pictures below a folder, their classes and the classes' names."""
    found = images.find_images(root)
    below = [path.relative_to(root).parts for path in found]
    labels = None
    if all(len(parts) > 1 for parts in below) and (names is None or {p[0] for p in below} <= set(names)):
        names = names or sorted({parts[0] for parts in below})
        labels = torch.tensor([names.index(parts[0]) for parts in below])
    elif any(len(parts) > 1 for parts in below):
        beside = sum(len(parts) == 1 for parts in below)
        logger.warning(
            "pictures in %s have no classes: %s; move each into the subfolder of its class",
            root,
            f"{beside} of {len(found)} lie beside the subfolders"
            if beside
            else "other subfolders than in train",
        )
    return images.read_images(found, size=size, grey=grey, progress=progress), labels, names


def _parts(root: Path) -> tuple[Path, Path] | None:
    """The folders of the two parts, where there are just these."""
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {root}; check the path")
    names = {p.name.lower(): p for p in sorted(root.iterdir()) if _holds_pictures(p)}
    first = [names[name] for name in TRAIN if name in names]
    second = [names[name] for name in HELD_OUT if name in names]
    if first and (len(names) == 1 or (second and len(names) > 2)):
        # They would be taken for classes.
        told = ", ".join(sorted(p.name for p in names.values()))
        spare = ", ".join(p.name for p in second)
        move = f", or move all but one of {spare} elsewhere" if len(second) == len(names) - 1 > 0 else ""
        raise ValueError(
            f"{root} must hold two parts, or classes, got {told}; pass {first[0]}, of which a share is held out{move}"
        )
    return (first[0], second[0]) if len(names) == 2 and first and second else None


def _holds_pictures(path: Path) -> bool:
    if not path.is_dir() or path.name.startswith("."):
        return False
    try:
        return bool(images.find_images(path))
    except FileNotFoundError:
        return False


def _is_grey(path: Path) -> bool:
    if images.has_one_channel(path):
        return True
    colour = images.read_image(path)
    return bool((colour[0] == colour[1]).all() and (colour[1] == colour[2]).all())


def _size(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = size if isinstance(size, tuple) else (size, size)
    return check_count(height, "size"), check_count(width, "size")


def hugging_face(
    dataset: Any,
    *,
    image: str = "image",
    label: str | None = "label",
    size: int | tuple[int, int] | None = None,
    grey: bool | None = None,
    held_out: float = 0.2,
    seed: int = 0,
) -> Data:
    """Return a Hugging Face `datasets.Dataset` of pictures, or a `DatasetDict` with `train` and `test`, in memory.

    Args:
        dataset: Rows with a picture (PIL, as `datasets.Image` decodes it) and, where `label` is in them, a class.
        image: The column of the pictures.
        label: The column of the classes; None for none, and a column that is not there counts as none.
        size: As for `folder`.
        grey: As for `folder`.
        held_out: As for `folder`, for a dataset without a `test` (or `validation`) part.
        seed: As for `folder`.

    Raises:
        ValueError: No such column, pictures of several sizes.
    """
    if hasattr(dataset, "keys"):
        second = next((name for name in HELD_OUT if name in dataset), None)
        if "train" not in dataset or second is None:
            raise ValueError(
                f"dataset must have a train and a test part, got {list(dataset.keys())}; pass one of them"
            )
        pick = partial(_rows, image=image, label=label, size=size)
        train, train_labels = pick(dataset["train"], grey=grey)
        other, other_labels = pick(dataset[second], grey=train.shape[1] == 1)
        return Data("dataset", train, other, train_labels, other_labels)
    pixels, labels = _rows(dataset, image=image, label=label, size=size, grey=grey)
    return split("dataset", pixels, labels, held_out=held_out, seed=seed)


def _rows(
    rows: Any, *, image: str, label: str | None, size: int | tuple[int, int] | None, grey: bool | None
) -> tuple[UInt8[Tensor, "n c h w"], Int64[Tensor, " n"] | None]:
    if len(rows) == 0:
        raise ValueError("dataset must hold pictures, got no row; pass another part of it")
    if image not in rows[0]:
        raise ValueError(f"image must be a column of the dataset, got {image!r}; it has {sorted(rows[0])}")
    wanted = None if size is None else _size(size)
    bad = next((i for i in range(len(rows)) if not hasattr(rows[i][image], "mode")), None)
    if bad is not None:
        raise TypeError(
            f"{image} must be pictures of PIL, got {type(rows[bad][image]).__name__} in row {bad}; leave out rows "
            "without one, and read the dataset in its own format, dataset.with_format(None)"
        )
    if grey is None:
        grey = all(rows[i][image].mode in ("1", "L", *images.DEEP) for i in range(len(rows)))
    pixels = [images.picture(rows[i][image], size=wanted, grey=grey) for i in range(len(rows))]
    if len({p.shape for p in pixels}) > 1:
        raise ValueError(
            f"pictures must have one size, got {len({p.shape for p in pixels})}; pass size=(height, width)"
        )
    if label is None or label not in rows[0]:
        return torch.stack(pixels), None
    told = [rows[i][label] for i in range(len(rows))]
    # Truth values are classes 0 and 1.
    told = [int(each) if isinstance(each, bool) else each for each in told]
    return torch.stack(pixels), check_classes(told, len(told), label)
