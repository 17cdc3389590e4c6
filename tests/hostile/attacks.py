"""What a tensor can be that its function did not expect, and what must then come back.

- *Harmless*: the same numbers in another form. The result is the plain one's.
- *Poison*: no valid argument. A `TypeError` or `ValueError` of our own that names the argument.
- *Extreme*: valid, and hard. The result in float32 is that in float64, to rounding, or it is refused as above.

Never a NaN in silence, an error from inside torch, or an argument that was changed.
"""

import dataclasses
import math
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from metrics import Estimate

OURS = ("bayessgd", "gan", "metrics")
ROOT = str(Path(__file__).resolve().parents[2])
Change = Callable[[Tensor, torch.Generator], object]


class Named(Tensor):
    """A subclass that adds nothing."""


def _place(x: Tensor, draw: torch.Generator, value: float) -> Tensor:
    x = x.clone()
    x.view(-1)[torch.randint(x.numel(), (), generator=draw)] = value
    return x


def _strided(x: Tensor, draw: torch.Generator) -> Tensor:
    wide = x.new_zeros((*x.shape, 2))
    wide[..., 1] = x
    return wide[..., 1]


def _in_inference_mode(x: Tensor, draw: torch.Generator) -> Tensor:
    with torch.inference_mode():
        return x.clone()


HARMLESS: dict[str, Change] = {
    "strided": _strided,
    "flipped twice": lambda x, draw: x.flip(0).flip(0),
    "transposed storage": lambda x, draw: x.mT.contiguous().mT if x.ndim > 1 else x,
    "a parameter": lambda x, draw: nn.Parameter(x.clone()) if x.is_floating_point() else x,
    "of an inference": _in_inference_mode,
    "a subclass": lambda x, draw: x.clone().as_subclass(Named),
    "a view of more": lambda x, draw: torch.cat([x, x])[: len(x)],
}

POISON: dict[str, Change] = {
    "NaN": lambda x, draw: _place(x, draw, math.nan),
    "infinite": lambda x, draw: _place(x, draw, math.inf),
    "minus infinite": lambda x, draw: _place(x, draw, -math.inf),
    "complex": lambda x, draw: x.to(torch.complex64),
    "a string": lambda x, draw: "x",
    "a list": lambda x, draw: [1.0, 2.0],
    "a dict": lambda x, draw: {"x": x},
    "half": lambda x, draw: x.half(),
    "sparse": lambda x, draw: x.to_sparse(),
    "on meta": lambda x, draw: x.to("meta"),
    "empty": lambda x, draw: x[:0],
    "one dimension more": lambda x, draw: x[None, None],
}

EXTREME: dict[str, Change] = {
    "huge": lambda x, draw: x * 1e30,
    "tiny": lambda x, draw: x * 1e-30,
    "far away": lambda x, draw: x + 1e6,
    "all alike": lambda x, draw: x[:1].expand_as(x).clone(),
    "zero": lambda x, draw: torch.zeros_like(x),
    "duplicates": lambda x, draw: torch.cat([x[: (len(x) + 1) // 2], x[: len(x) // 2]]),
    "one row": lambda x, draw: x[:1],
    "negative": lambda x, draw: -x,
    "widely spread": lambda x, draw: x * torch.logspace(-15, 15, x.shape[-1], dtype=x.dtype),
}


def refused(call: Callable[[], object]) -> tuple[object, str | None]:
    """The result, or None and the words of a refusal; any other error is raised as a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call(), None
        except (TypeError, ValueError) as error:
            told = error
    last = traceback.extract_tb(told.__traceback__)[-1]
    inside = last.filename.startswith(ROOT) and Path(last.filename).relative_to(ROOT).parts[0] in OURS
    assert inside, f"not our words: {type(told).__name__}: {told} ({last.filename}:{last.lineno})"
    return None, str(told)


def tensors_of(result: object) -> list[Tensor]:
    """Every tensor of numbers that a result holds."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, (float, int)):
        return [torch.tensor(float(result))]
    if isinstance(result, Estimate):  # its other fields are NaN where there is none
        return [torch.tensor([result.value, result.stderr])]
    if dataclasses.is_dataclass(result):
        return [t for f in dataclasses.fields(result) for t in tensors_of(getattr(result, f.name))]
    if isinstance(result, Mapping):
        return [t for value in result.values() for t in tensors_of(value)]
    if isinstance(result, (tuple, list)):
        return [t for value in result for t in tensors_of(value)]
    return []


def agree(found: object, expected: object, *, rtol: float, scale: float = 0.0) -> str | None:
    """None where two results hold the same numbers as far as the first's type can, else what differs."""
    ours, theirs = tensors_of(found), tensors_of(expected)
    if len(ours) != len(theirs):
        return f"{len(ours)} tensors for {len(theirs)}"
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            return f"shape {tuple(a.shape)} for {tuple(b.shape)}"
        if not torch.allclose(
            a.double(), b.to(a.dtype).double(), rtol=rtol, atol=rtol * scale, equal_nan=True
        ):
            return f"{a.flatten()[:3].tolist()} for {b.flatten()[:3].tolist()}"
    return None
