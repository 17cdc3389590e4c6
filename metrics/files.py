"""Files that are safe: safetensors with a JSON header, whole or not at all, never a pickle.

`write` goes to a temporary name in the same folder and renames, so a reader (or a run that goes on after a power
cut) sees the old file or the new one, never half of one. Tensors keep their bits; the metadata is any JSON.
"""

import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

__all__ = ["read", "read_arrays", "write", "write_text"]

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp keeps its file from everybody else; what the user makes follows the user's mask.
        os.chmod(temporary, 0o666 & ~_mask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _mask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, object]) -> None:
    """Write tensors and JSON metadata to one safetensors file, whole or not at all.

    >>> import pathlib, tempfile, torch
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.safetensors"
    >>> write(file, {"x": torch.arange(2.0)}, {"step": 3})
    >>> read(file)
    ({'x': tensor([0., 1.])}, {'step': 3})
    """
    # safetensors refuses tensors that share memory (a cloned state dict, an expanded view): copies do not.
    whole = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    _write_whole(Path(path), save(whole, metadata={"json": json.dumps(metadata, allow_nan=False)}))


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all."""
    _write_whole(Path(path), text.encode())


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Return the tensors and the metadata of a file that `write` made.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not one of ours: cut off, corrupt, or another format.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file at {path}; check the path")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["json"])
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is not a safetensors file with a JSON header ({error}); delete it"
        ) from None


def read_arrays(path: str | Path) -> dict[str, Tensor]:
    """Return the arrays in a `.npy` (under the name `array`), `.npz` or `.safetensors` file; nothing is unpickled.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another format, a broken file, or one with pickled objects in it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}; check the path")
    if path.suffix not in (".npy", ".npz", ".safetensors"):
        raise ValueError(f"{path} must end in .npy, .npz or .safetensors; save it in one of these formats")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npy":
            return {"array": _tensor(np.load(path, allow_pickle=False))}
        with np.load(path, allow_pickle=False) as found:
            return {name: _tensor(found[name]) for name in found.files}
    except (SafetensorError, OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as plain arrays ({error}); save it anew") from None


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype.kind in "US":
        raise TypeError("an array of texts: number them, numpy.unique(labels, return_inverse=True)[1]")
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
