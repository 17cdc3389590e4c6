"""A checkpoint from which an interrupted run goes on to the same bits.

One safetensors file holds every tensor of the run: the networks' state, both optimizers' moments and step counts, the
state of the random generator and the training curves. Its JSON header holds the run's identity (loss, batch size,
seed, settings): a run with another identity would not be the same run, and is refused.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from gan.history import History
from metrics import files

__all__ = ["Part", "restore", "save"]

Part = nn.Module | torch.optim.Optimizer


def _tensors(part: Part) -> dict[str, Tensor]:
    if isinstance(part, nn.Module):
        return part.state_dict()
    state = part.state_dict()["state"]
    return {f"{index}.{key}": value for index, entry in state.items() for key, value in entry.items()}


def _load(part: Part, tensors: dict[str, Tensor]) -> None:
    if isinstance(part, nn.Module):
        part.load_state_dict(tensors)
        return
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})


def save(
    path: Path,
    parts: Mapping[str, Part],
    identity: Mapping[str, object],
    history: History,
    random: torch.Generator,
) -> None:
    """Write the whole state of a run after its last step."""
    tensors = {f"{name}/{key}": t for name, part in parts.items() for key, t in _tensors(part).items()}
    tensors |= {"random": random.get_state(), "history": history.rows()}
    files.write(path, tensors, {"identity": dict(identity), "torch": torch.__version__})


def restore(
    path: Path,
    parts: Mapping[str, Part],
    identity: Mapping[str, object],
    history: History,
    random: torch.Generator,
) -> None:
    """Put every part back to where the run stopped.

    Raises:
        ValueError: The file is corrupt, or of a run with another identity; the message names what differs.
    """
    tensors, metadata = files.read(path)
    before = metadata.get("identity")
    if not isinstance(before, dict):
        raise ValueError(f"{path} is not a checkpoint of a GAN; choose another name")
    differing = sorted(key for key in identity if before.get(key) != identity[key])
    if differing:
        told = "; ".join(f"{key} was {before.get(key)}, now {identity[key]}" for key in differing)
        raise ValueError(f"{path} is a checkpoint of another run ({told}); delete it or choose another name")
    for name, part in parts.items():
        prefix = f"{name}/"
        _load(part, {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)})
    random.set_state(tensors["random"])
    history.extend(tensors["history"])
