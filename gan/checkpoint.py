"""A checkpoint from which an interrupted run goes on to the same bits.

One safetensors file holds every tensor of the run: the networks' state, both optimizers' moments and step counts, the
state of the random generator, the number of batches drawn and the training curves. Its JSON header holds the run's
identity (loss, data, seed, settings, …) and the number of steps it was planned for: a run with another identity
would not be the same run, and is refused; one that is only longer goes on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from gan.history import History
from metrics import files

__all__ = ["Draws", "Part", "restore", "save"]

Part = nn.Module | torch.optim.Optimizer
NETWORKS = ("generator", "critic")


@dataclass
class Draws:
    """Where the random numbers of a run are: the generator and the number of real batches so far."""

    random: torch.Generator
    drawn: int


def _tensors(part: Part) -> dict[str, Tensor]:
    if isinstance(part, nn.Module):
        return part.state_dict()
    state = part.state_dict()["state"]
    return {
        f"{index}.{key}": torch.as_tensor(value)
        for index, entry in state.items()
        for key, value in entry.items()
        if value is not None
    }


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
    draws: Draws,
) -> None:
    """Write the whole state of a run after its last step."""
    tensors = {f"{name}/{key}": t for name, part in parts.items() for key, t in _tensors(part).items()}
    tensors |= {
        "random": draws.random.get_state(),
        "history": history.rows(),
        "drawn": torch.tensor(draws.drawn),
    }
    files.write(path, tensors, {"identity": dict(identity), "torch": torch.__version__})


def restore(
    path: Path,
    parts: Mapping[str, Part],
    identity: Mapping[str, object],
    history: History,
    draws: Draws,
) -> int:
    """Put every part back to where the run stopped; return the number of steps that it was planned for.

    Raises:
        ValueError: The file is corrupt, or of a run with another identity; the message names what differs.
    """
    tensors, metadata = files.read(path)
    before = metadata.get("identity")
    if not isinstance(before, dict) or not _is_whole(tensors):
        raise ValueError(f"{path} is not a checkpoint of a GAN; choose another name")
    differing = sorted(
        key for key in identity if key not in ("steps", *NETWORKS) and before.get(key) != identity[key]
    )
    if differing:
        told = "; ".join(f"{key} was {before.get(key)}, now {identity[key]}" for key in differing)
        raise ValueError(f"{path} is a checkpoint of another run ({told}); delete it or choose another name")
    for name in NETWORKS:
        # Files of before say nothing of the networks beside their tensors.
        if name in before and before[name] != identity[name]:
            told = _change(str(before[name]), str(identity[name]))
            raise ValueError(f"{path} is a checkpoint of another {name} ({told}); choose another name")
    for name, part in parts.items():
        prefix = f"{name}/"
        mine = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
        try:
            _load(part, mine)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is a checkpoint of another {name} ({str(error).splitlines()[-1].strip()}); choose another name"
            ) from None
    try:
        draws.random.set_state(tensors["random"])
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{path} has no random state that this device can take ({error}); choose another name"
        ) from None
    draws.drawn = int(tensors["drawn"])
    history.extend(tensors["history"])
    steps = before.get("steps")
    return steps if isinstance(steps, int) else len(history)


def _change(before: str, now: str) -> str:
    """Two long descriptions from shortly before where they part."""
    parts = next((i for i, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), len(before))
    start = max(0, parts - 40)
    was, is_now = (f"{'… ' if start else ''}{text[start : start + 120]}" for text in (before, now))
    return f"it was {was}, now {is_now}"


def _is_whole(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a run's random state, curves and count of batches are among them."""
    if not {"random", "history", "drawn"} <= set(tensors):
        return False
    history, drawn = tensors["history"], tensors["drawn"]
    curves = history.ndim == 2 and history.shape[1] == 3 and history.is_floating_point()
    return curves and drawn.shape == () and drawn.dtype == torch.int64
