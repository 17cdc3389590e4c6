"""Features of whatever holds the samples, computed once, in batches, and kept.

A *source* is a tensor or an array, a map-style `Dataset` or an iterable of batches (of tuples the first entry counts),
a folder of pictures, or a file of arrays (.npy, .npz, .safetensors). Pictures are bytes [n, c, h, w]. An array [n, d]
in a file is taken for features that somebody has computed already: a map is not applied to it.

What a map made of a folder, a file or a tensor can be kept in a cache: under the SHA-256 of the source's bytes and of
the map's weights, so that neither other pictures nor other weights ever find it.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from metrics.features.fingerprint import fingerprint, fingerprint_of_module
from metrics.features.images import find_images, read_images
from metrics.features.seen import seen
from metrics.files import read, read_arrays, write
from metrics.inputs import SupportsDLPack, as_tensor, check_count, from_array

__all__ = ["features_of", "identity", "read_named", "read_source"]

Map = Callable[[Tensor], Any]


def features_of(
    source: object,
    map: Map | None = None,
    *,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    cache: str | Path | None = None,
    size: tuple[int, int] | None = None,
    grey: bool = False,
    progress: bool = True,
) -> Float[Tensor, "n k"]:
    """Return the features [n, k] of a source, on the CPU.

    Args:
        source: A tensor, an array, a Dataset, an iterable of batches, the path of a folder of pictures or of a file.
        map: From a batch to its features; `None` flattens it, pixels of bytes as 0 … 255.
        batch_size: Samples of one call; the features do not depend on it where those of one sample do not.
        device: Where the batches are put before the map sees them; `None` leaves them.
        cache: A folder to keep the features in. The source must be one that can be read again, and the map have a
            `hash` or be a module.
        size: (height, width) that a folder's pictures are cut and resized to.
        grey: Read a folder's pictures in one channel.
        progress: Show a bar, where there is a terminal.

    Raises:
        TypeError, ValueError, FileNotFoundError: No source; pictures of several sizes; a map whose features cannot be
            told from another's in a cache.

    >>> features_of([torch.ones(2, 1, 2, 2), torch.zeros(1, 1, 2, 2)], lambda x: x.flatten(1).sum(1, keepdim=True))
    tensor([[4.],
            [4.],
            [0.]])
    """
    batch_size = check_count(batch_size, "batch_size")
    kept = None if cache is None else Path(cache) / f"{_key(source, map, size, grey)}.safetensors"
    known = None if kept is None else _kept(kept)
    if known is not None:
        return known
    rows, computed = [], _is_features(source)
    for batch in _batches(source, "source", batch_size, size=size, grey=grey, progress=progress):
        x = batch if device is None else batch.to(device)
        made = as_tensor(x, "source") if map is None or computed else seen(map, x, "map")
        rows.append(made.flatten(1).detach().cpu())
    if not rows:
        raise ValueError("source must hold at least one batch, got none; a generator can be read only once")
    found = torch.cat(rows)
    if kept is not None:
        try:
            write(kept, {"features": found}, {"map": identity(map)})
        except OSError as error:
            warnings.warn(f"the features are not kept: {error}", stacklevel=2)
    return found


def _kept(path: Path) -> Tensor | None:
    """The features in a cache; None where there are none, or where they are damaged: that warns."""
    if not path.exists():
        return None
    try:
        found = read(path)[0].get("features")
        if found is None or found.ndim != 2:
            raise ValueError(f"{path} holds no features [n, k]")
    except (ValueError, OSError) as error:
        warnings.warn(f"the kept features are damaged and are made anew: {error}", stacklevel=3)
        return None
    return found


def read_source(source: object) -> Tensor:
    """Return the samples of a source whole: pictures as bytes [n, c, h, w], arrays as they are.

    Raises:
        TypeError, ValueError: No source, or batches that are not of one shape and type, [n, ...].

    >>> read_source([torch.zeros(2, 3), torch.zeros(1, 3)]).shape
    torch.Size([3, 3])
    """
    return read_named(source, "source")


def read_named(source: object, name: str) -> Tensor:
    """Return the same, under a name of the caller's in messages.

    >>> read_named([torch.zeros(2)], "samples")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: samples must give batches [n, ...], got one of shape [2]; put single samples together, ...
    """
    if isinstance(source, Tensor | np.ndarray | SupportsDLPack):
        return from_array(source, name)
    batches = list(_batches(source, name, 1024, size=None, grey=False, progress=True))
    if not batches:
        raise ValueError(f"{name} must hold at least one batch, got none; a generator can be read only once")
    kinds = {(tuple(batch.shape[1:]), str(batch.dtype)) for batch in batches}
    if len(kinds) > 1:
        told = " and ".join(f"{list(shape)} {dtype}" for shape, dtype in sorted(kinds))
        raise ValueError(
            f"{name} must give batches of one shape and type, got samples {told}; make them alike"
        )
    return torch.cat(batches)


def identity(map: Map | None) -> str:
    """Return the name of a feature map with the start of its weights' hash; "none" without one.

    >>> identity(None), identity(torch.nn.Flatten())[:17]
    ('none', 'Flatten, weights ')
    """
    if map is None:
        return "none"
    name = getattr(map, "name", getattr(map, "__name__", type(map).__name__))
    # 64 bits of the hash: enough to tell two sets of weights apart, short enough for a table.
    of_weights = _hash(map)
    return f"{name}, weights {of_weights[:16]}" if of_weights else str(name)


def _hash(map: Map) -> str | None:
    if isinstance(map, torch.nn.Module) and not hasattr(map, "hash"):
        return fingerprint_of_module(map)
    return getattr(map, "hash", None)


def _is_features(source: object) -> bool:
    return isinstance(source, str | Path) and Path(source).is_file() and _array(Path(source)).ndim == 2


def _batches(
    source: object, name: str, batch_size: int, *, size: tuple[int, int] | None, grey: bool, progress: bool
) -> Iterator[Tensor]:
    """Batches of any source, under a bar."""
    if isinstance(source, str | Path):
        path = Path(source)
        if path.is_dir():
            yield from _of_folder(path, batch_size, size=size, grey=grey, progress=progress)
            return
        source = _array(path)
    bar: tqdm[Any]
    # A data frame has a length and items too, its columns: it is refused as no array.
    if isinstance(source, Tensor | np.ndarray | SupportsDLPack) or hasattr(source, "to_numpy"):
        parts = from_array(source, name).split(batch_size)
        with tqdm(parts, disable=None if progress else True, desc="features", unit="batch") as bar:
            yield from bar
    elif isinstance(source, Mapping):
        raise TypeError(
            f"{name} must be one source, got a dict of {', '.join(map(repr, source))}; pass one of them"
        )
    elif (
        hasattr(source, "__getitem__") and hasattr(source, "__len__") and not isinstance(source, list | tuple)
    ):
        starts = range(0, len(source), batch_size)  # type: ignore[arg-type]
        with tqdm(starts, disable=None if progress else True, desc="features", unit="batch") as bar:
            for start in bar:
                items = (source[i] for i in range(start, min(start + batch_size, len(source))))  # type: ignore
                yield torch.stack([_first(item) for item in items])
    elif isinstance(source, Iterable):
        with tqdm(source, disable=None if progress else True, desc="features", unit="batch") as bar:
            for batch in bar:
                yield _several(_first(batch), name)
    else:
        raise TypeError(
            f"{name} must be a tensor, an array, a Dataset, batches, or the path of a folder or a file, got "
            f"{type(source).__name__}"
        )


def _first(item: object) -> Tensor:
    """The samples of an item that may carry labels."""
    return from_array(item[0] if isinstance(item, tuple | list) else item, "a batch")


def _several(batch: Tensor, name: str) -> Tensor:
    """A batch, and not a single point: joined, points would be one long row of numbers."""
    if batch.ndim < 2:
        raise ValueError(
            f"{name} must give batches [n, ...], got one of shape {list(batch.shape)}; put single samples together, "
            f"numpy.stack([numpy.asarray(one) for one in {name}]), and leave labels out"
        )
    return batch


def _of_folder(
    folder: Path, batch_size: int, *, size: tuple[int, int] | None, grey: bool, progress: bool
) -> Iterator[Tensor]:
    paths = find_images(folder)
    first = read_images(paths[:1], size=size, grey=grey, progress=False)
    bar: tqdm[Any] = tqdm(
        total=len(paths), disable=None if progress else True, desc=f"features of {folder.name}", unit="file"
    )
    with bar:
        for start in range(0, len(paths), batch_size):
            images = read_images(paths[start : start + batch_size], size=size, grey=grey, progress=False)
            if images.shape[1:] != first.shape[1:]:
                raise ValueError(
                    f"pictures must have one size, got {list(first.shape[2:])} in {paths[0]} and "
                    f"{list(images.shape[2:])} in {paths[start]}; pass size=(height, width)"
                )
            yield images
            bar.update(len(images))


def _array(path: Path) -> Tensor:
    """The one array of samples in a file."""
    if not path.exists():
        raise FileNotFoundError(f"no folder or file at {path}; check the path")
    found = read_arrays(path)
    if {"mu", "sigma"} <= set(found):
        raise ValueError(
            f"{path} holds the statistics mu and sigma, and no samples; pass the pictures or their features"
        )
    samples = {name: t for name, t in found.items() if t.ndim in (2, 4)}
    if len(samples) != 1:
        told, remedy = str(sorted(samples)), "save one alone"
        if not samples:
            told = ", ".join(f"{name} {list(t.shape)}" for name, t in found.items()) or "none"
            remedy = "save it with the dimension that is missing, array[:, None]"
        raise ValueError(f"{path} must hold one array [n, d] or [n, c, h, w], got {told}; {remedy}")
    return _channels_first(next(iter(samples.values())))


def _channels_first(samples: Tensor) -> Tensor:
    """Pictures [n, h, w, c], as many programs save them, as [n, c, h, w]; pixels would else meet other pixels."""
    last = samples.ndim == 4 and samples.shape[1] not in (1, 3) and samples.shape[3] in (1, 3)
    return samples.permute(0, 3, 1, 2).contiguous() if last else samples


def _key(source: object, map: Map | None, size: tuple[int, int] | None, grey: bool) -> str:
    """The SHA-256 of what the features depend on."""
    of_map = "" if map is None else _hash(map)
    if of_map is None:
        raise ValueError(
            f"cache must be None for {identity(map)}, which cannot be told from another map; give it a hash"
        )
    digest = hashlib.sha256(f"{identity(map)} {of_map} {size} {grey}".encode())
    if isinstance(source, str | Path):
        path = Path(source)
        # How pictures were decoded belongs to what was kept: once, transparency was not seen.
        digest.update(b"transparency on black" if path.is_dir() else b"")
        for file in find_images(path) if path.is_dir() else [path]:
            if not file.is_file():
                raise FileNotFoundError(f"no folder or file at {file}; check the path")
            digest.update(f"{file.relative_to(path) if path.is_dir() else ''}".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    elif isinstance(source, Tensor | np.ndarray | SupportsDLPack):
        digest.update(fingerprint(from_array(source, "source")).encode())
    else:
        raise ValueError(
            "cache must be None for batches, which can be read only once; pass a folder or a tensor"
        )
    return digest.hexdigest()
