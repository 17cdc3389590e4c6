"""Files that are safe: safetensors with a JSON header, whole or not at all, never a pickle.

`write` goes to a temporary name in the same folder and renames, so a reader (or a run that goes on after a power
cut) sees the old file or the new one, never half of one. Tensors keep their bits; the metadata is any JSON. With them
goes a checksum, so that a bit that flipped on a disk is an error and not another number. What a killed process left
half-written is taken away by the next write.

Every file that the packages read comes through here, and is refused in one form: a `FileNotFoundError` or a
`ValueError` that names the file and what to do.
"""

import hashlib
import json
import os
import re
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from metrics import locks
from metrics.arrays import from_array

__all__ = [
    "check_folder",
    "read",
    "read_arrays",
    "read_json",
    "read_safetensors",
    "read_torch",
    "write",
    "write_text",
]

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


def check_folder(folder: Path) -> None:
    """Refuse a folder that is none and cannot be made, before the work whose results shall go there.

    >>> check_folder(Path(torch.__file__))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    NotADirectoryError: results go to a folder, or one that can be made, got ...: ...__init__.py is a file; \
choose another name
    """
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise NotADirectoryError(
            f"results go to a folder, or one that can be made, got {folder}: {there} is a file; "
            "choose another name"
        )


def _write_whole(path: Path, *parts: bytes | memoryview) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        with _temporary(path) as (file, temporary):
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            # mkstemp keeps its file from everybody else; what the user makes follows the user's mask.
            os.chmod(temporary, 0o666 & ~_mask())
            os.replace(temporary, path)
    except OSError as error:
        before = "what it held before is whole" if path.is_file() else "nothing was written"
        told = (
            f"{path} cannot be written ({error.strerror or error}), {before}; make room, or name a file in a folder "
            "that can be written to"
        )
        raise OSError(*(told,) if error.errno is None else (error.errno, told)) from None


@contextmanager
def _temporary(path: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A file beside the path, locked while it is written, and gone afterwards unless it was renamed."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            locks.lock_open_file(file)
            # Another process's sweep may have come between the two lines above.
            if not os.path.exists(name):
                continue
            try:
                yield file, Path(name)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            return


def _sweep(path: Path) -> None:
    """Take away what killed processes left of this file half-written: nobody holds its lock any more."""
    for name in os.listdir(path.parent):
        if name.startswith(f".{path.name}.") and name.endswith(".part"):
            left = path.parent / name
            try:
                with left.open("rb") as file:
                    if locks.lock_open_file(file):
                        left.unlink()
            except OSError:
                continue


def _mask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, object]) -> None:
    """Write tensors and JSON metadata to one safetensors file, whole or not at all.

    Raises:
        OSError: A full disk, a folder that cannot be written to; the file that was there before is whole.

    >>> import pathlib, tempfile, torch
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.safetensors"
    >>> write(file, {"x": torch.arange(2.0)}, {"step": 3})
    >>> read(file)
    ({'x': tensor([0., 1.])}, {'step': 3})
    """
    # safetensors refuses tensors that share memory (a cloned state dict, an expanded view): copies do not.
    whole = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    text = json.dumps(metadata, allow_nan=False)
    content = save(whole, metadata={"json": text, "sha256": _checksum(whole, text)})
    _write_whole(Path(path), *_ordered(content))


def _ordered(content: bytes) -> tuple[bytes, memoryview]:
    """A safetensors file whose header has an order of its own: equal contents are equal files."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header, memoryview(content)[8 + size :]


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all."""
    _write_whole(Path(path), text.encode())


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Return the tensors and the metadata of a file that `write` made.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not one of ours: cut off, corrupt, or another format.
    """
    path = _present(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            metadata: Any = json.loads(header["json"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if not isinstance(metadata, dict):
            raise TypeError(f"metadata that are a {type(metadata).__name__} and no object")
        # Files of version 0.1 have none.
        if "sha256" in header and header["sha256"] != _checksum(tensors, header["json"]):
            raise ValueError("its checksum is another: bits have changed since it was written")
    except Exception as error:  # each way of damage has its own kind of error
        raise ValueError(
            f"{path} is not a safetensors file with a JSON header, or is damaged ({_reason(error)}); take a copy of "
            "it, or delete it and make it anew"
        ) from None
    return tensors, metadata


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of anybody's safetensors file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another format, or a broken file.
    """
    path = _present(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise ValueError(
            f"{path} must be a whole safetensors file ({_reason(error)}); take another copy of it, or leave it out"
        ) from None


def read_torch(path: str | Path) -> object:
    """Return what a file of `torch.save` holds, of tensors and plain numbers alone: nothing is unpickled.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another format, a broken file, or one with other objects.
    """
    path = _present(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path} must be a whole file of torch.save with tensors and plain numbers alone, for nothing is "
            f"unpickled ({_reason(error)}); take another copy of it, or, where you trust it, load it yourself and "
            "write its state dict anew as safetensors"
        ) from None


def read_json(path: str | Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another format, or a broken file.
    """
    path = _present(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be a whole JSON file ({_reason(error)}); take a copy of it") from None


def read_arrays(path: str | Path) -> dict[str, Tensor]:
    """Return the arrays in a `.npy` (under the name `array`), `.npz` or `.safetensors` file; nothing is unpickled.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another format, a broken file, or one with pickled objects in it.
    """
    path = _present(path)
    if path.suffix not in (".npy", ".npz", ".safetensors"):
        raise ValueError(f"{path} must end in .npy, .npz or .safetensors; save it in one of these formats")
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if isinstance(found, np.ndarray):
                return {"array": _tensor(found)}
            with found:
                return {name: _tensor(found[name]) for name in found.files}
    except Exception as error:
        raise ValueError(f"{path} cannot be read as plain arrays ({_reason(error)}); save it anew") from None


def _present(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} must be a file, got a folder; name the file in it")
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}; check the path")
    return path


def _reason(error: BaseException) -> str:
    """The first words of another library's error, in one line."""
    told = re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "another thing", " ".join(str(error).split()))
    if isinstance(error, KeyError):
        told = f"it has no {told}"
    elif isinstance(error, RecursionError):
        told = "it is nested too deeply"
    elif type(error).__name__ == "UnpicklingError":
        told = "it holds other objects, or is no such file"
    return told[:200] or type(error).__name__


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        t = tensors[name]
        digest.update(f"{name}\0{t.dtype} {list(t.shape)}".encode())
        # Bytes and not values: numpy has no bfloat16.
        if t.numel():
            digest.update(t.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _tensor(array: object) -> Tensor:
    if not isinstance(array, np.ndarray):
        raise TypeError("an entry that is no array: save arrays alone")
    if array.dtype.kind in "US":
        raise TypeError("an array of texts: number them, numpy.unique(labels, return_inverse=True)[1]")
    return from_array(array, "array")
