"""The weights of a checkpoint, as trainers write them, without unpickling anything.

    a folder         model.safetensors, its sharded index, a PEFT adapter, pytorch_model.bin: as Hugging Face has them
    .safetensors     or its index .json
    .pt .pth .bin .ckpt   torch's, read with `weights_only=True`: tensors and plain numbers alone

A training checkpoint holds more than weights; its state dict is looked for under the usual keys (Lightning's is
"state_dict").
"""

import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

__all__ = ["SUFFIXES", "WEIGHTS", "weights_of"]

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "adapter_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "adapter_model.bin",
)
"""In a folder, in this order."""
INSIDE = ("state_dict", "model_state_dict", "model", "module", "net")
"""Under which keys a training checkpoint has its weights."""


def weights_of(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one checkpoint by name, on the CPU.

    Raises:
        FileNotFoundError: There is nothing, or the folder has no weights.
        ValueError: A file of another kind, a broken one, or one that would have to be unpickled.
    """
    if path.is_dir():
        found = next((path / name for name in WEIGHTS if (path / name).is_file()), None)
        if found is None:
            raise FileNotFoundError(
                f"no weights in {path}; a checkpoint's folder has one of {', '.join(WEIGHTS)}: pass the file itself"
            )
        path = found
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; check the path")
    if path.name.endswith(".index.json"):
        return _sharded(path)
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if path.suffix in SUFFIXES:
        return _of_torch(path)
    raise ValueError(
        f"{path} must end in one of {', '.join(SUFFIXES)} or .index.json; pass the state by update()"
    )


def _sharded(path: Path) -> dict[str, Tensor]:
    try:
        shards = sorted(set(json.loads(path.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} must be an index of shards with a weight_map, got {error!r}") from None
    found: dict[str, Tensor] = {}
    for shard in shards:
        # A name from a file: it may not lead out of the folder.
        if Path(shard).name != shard:
            raise ValueError(f"{path} must name shards beside it, got {shard!r}")
        found |= weights_of(path.parent / shard)
    return found


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} must be a whole safetensors file, got {error}; leave it out") from None


def _of_torch(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{path} must hold tensors and plain numbers alone, for nothing is unpickled, got more; where you "
            "trust it, load it yourself and pass collector.update(state_dict), or write it anew as safetensors "
            f"({reason})"
        ) from None
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path} must be a file of torch.save, got {error}; leave it out") from None
    return _inside(content, path)


def _inside(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        for key in INSIDE:
            if isinstance(content.get(key), Mapping):
                return _inside(content[key], path)
        tensors = {name: t for name, t in content.items() if isinstance(name, str) and isinstance(t, Tensor)}
        # A state dict may have entries that are no tensors (`_extra_state`), but not only such.
        if tensors:
            return tensors
    raise ValueError(
        f"{path} must hold a state dict, at the top or under one of {', '.join(INSIDE)}, got "
        f"{list(content)[:8] if isinstance(content, Mapping) else type(content).__name__}; pass it by update()"
    )
