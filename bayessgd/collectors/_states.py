"""A state dict as an iterate: its tensors under the collector's names, or a refusal."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bayessgd.params import bare_state, clean_name, unwrap

__all__ = ["Entries", "matched", "taken"]


class Entries:
    """The names that a network's state dict may have: a parameter's aliases (tied weights), and what else there is."""

    def __init__(self, model: nn.Module) -> None:
        network = unwrap(model)
        names: dict[int, str] = {}
        self.alias: dict[str, str] = {}
        for name, parameter in network.named_parameters(remove_duplicate=False):
            bare = clean_name(name)
            self.alias[bare] = names.setdefault(id(parameter), bare)
        for name in [*self.alias]:
            # PEFT's files leave the adapter's own name out of those of its weights.
            for own in (".modules_to_save.default.", ".default."):
                self.alias.setdefault(name.replace(own, "."), self.alias[name])
        self.known = {*self.alias, *(clean_name(name) for name, _ in network.named_buffers())}
        self.known |= {clean_name(name) for name in network.state_dict()}


def matched(state: object, entries: Entries, names: Sequence[str], like: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors of `names` in the order, on the devices and in the types (at least float32) of `like`.

    Args:
        state: From name to tensor; what wraps a network may have put its prefixes before the names.
        entries: The network's own names; what it holds beside `names` (buffers, frozen parameters) is let pass.
        names: The collector's.
        like: Its parameters.
    """
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise TypeError(
            f"state must be a mapping from parameter names to tensors, got {type(state).__name__}; pass "
            "model.state_dict()"
        )
    found = bare_state(state, entries.known)
    unknown = [name for name in found if name not in entries.known]
    given = {entries.alias[name]: t for name, t in found.items() if name in entries.alias}
    given |= {name: found[name] for name in names if name in found}  # before its aliases
    missing = [name for name in names if name not in given]
    if unknown or missing:
        raise ValueError(
            f"state must have the names of the collector's network; missing {_some(missing)}, unknown "
            f"{_some(unknown)}; {_remedy(found, names)}"
        )
    return [_entry(name, given[name], parameter) for name, parameter in zip(names, like, strict=True)]


def _remedy(found: Mapping[str, Tensor], names: Sequence[str]) -> str:
    """Say which prefix would make the names fit, where one does."""
    for name in found:
        if name.endswith(f".{names[0]}"):
            prefix = name.removesuffix(names[0])
            if all(prefix + other in found for other in names):
                return (
                    f"take the prefix {prefix!r} off the names, or pass from_checkpoints(prefix={prefix!r})"
                )
    return "pass the state of the network that the collector was made from"


def _entry(name: str, tensor: object, parameter: Tensor) -> Tensor:
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"state[{name!r}] must be a floating tensor, got {kind}; quantised weights are no θ")
    if tensor.shape != parameter.shape:
        raise ValueError(
            f"state[{name!r}] must have the shape {list(parameter.shape)} of the network's, got "
            f"{list(tensor.shape)}; it is of another network"
        )
    if not all(bool(extreme.isfinite()) for extreme in tensor.detach().aminmax() if tensor.numel()):
        raise ValueError(
            f"state[{name!r}] must be finite, got NaN or infinity; the training had diverged, leave it out"
        )
    return tensor.detach().to(parameter.device, torch.promote_types(parameter.dtype, torch.float32))


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{list(names[:most])}{more}"


def taken(tensors: Mapping[str, Tensor], name: str, like: Tensor, rows: int | None = None) -> Tensor:
    """Return a tensor of a collector's state, of `like`'s shape (after so many rows) and kind of number."""
    found = tensors.get(name)
    shape = [*([] if rows is None else [rows]), *like.shape]
    if not isinstance(found, Tensor):
        raise ValueError(
            f"state must have the tensor {name!r}, got {_some(list(tensors))}; pass a whole state_dict"
        )
    kinds = [(t.is_floating_point(), t.is_complex()) for t in (found, like)]
    if list(found.shape) != shape or kinds[0] != kinds[1]:
        raise ValueError(
            f"state must have {name!r} of shape {shape}, got {found.dtype} {list(found.shape)}; pass a whole state_dict"
        )
    return found
