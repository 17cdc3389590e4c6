"""The weights of a checkpoint, as trainers write them, without unpickling anything.

    a folder         model.safetensors, its sharded index, a PEFT adapter, pytorch_model.bin: as Hugging Face has them
    .safetensors     or its index .json
    .pt .pth .bin .ckpt   torch's, read with `weights_only=True`: tensors and plain numbers alone

A training checkpoint holds more than weights; its state dict is looked for under the usual keys (Lightning's is
"state_dict").
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from metrics.files import read_json, read_safetensors, read_torch

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
DEEPEST = 3
"""How many such keys one after another are followed: a file can hold itself."""


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
        return read_safetensors(path)
    if path.suffix in SUFFIXES:
        return _inside(read_torch(path), path)
    raise ValueError(
        f"{path} must end in one of {', '.join(SUFFIXES)} or .index.json; pass the state by update()"
    )


def _sharded(path: Path) -> dict[str, Tensor]:
    index = read_json(path)
    names = index.get("weight_map") if isinstance(index, dict) else None
    if (
        not isinstance(names, dict)
        or not all(isinstance(shard, str) for shard in names.values())
        or not names
    ):
        raise ValueError(f"{path} must be an index of shards with a weight_map; pass the shards themselves")
    found: dict[str, Tensor] = {}
    for shard in sorted(set(names.values())):
        # A name from a file: it may not lead out of the folder, nor to an index again.
        if Path(shard).name != shard or Path(shard).suffix not in SUFFIXES or "\0" in shard:
            raise ValueError(
                f"{path} must name shards beside it, files of weights, got {shard!r}; pass the shards themselves"
            )
        if not (path.parent / shard).is_file():
            raise FileNotFoundError(
                f"{path} names {shard}, and there is no such file beside it; take the whole folder"
            )
        found |= weights_of(path.parent / shard)
    return found


def _inside(content: Any, path: Path, deep: int = 0) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        for key in INSIDE if deep < DEEPEST else ():
            if isinstance(content.get(key), Mapping):
                return _inside(content[key], path, deep + 1)
        tensors = {name: t for name, t in content.items() if isinstance(name, str) and isinstance(t, Tensor)}
        # A state dict may have entries that are no tensors (`_extra_state`), but not only such.
        if tensors:
            return tensors
    raise ValueError(
        f"{path} must hold a state dict, at the top or under one of {', '.join(INSIDE)}, got "
        f"{list(content)[:8] if isinstance(content, Mapping) else type(content).__name__}; pass it by update()"
    )
