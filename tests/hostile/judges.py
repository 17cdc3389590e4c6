"""One hostile call, and the verdict on what came back: None where it is right, else what is wrong."""

import torch
from torch import Tensor

from tests.hostile.attacks import EXTREME, HARMLESS, POISON, agree, refused, tensors_of
from tests.hostile.cases import Case

__all__ = [
    "JUDGES",
    "UNDEFINED",
    "arguments_of",
    "extreme",
    "harmless",
    "kept",
    "poison",
    "tensors",
    "unchanged",
]

UNDEFINED = {
    "predictions.reliability_diagram": "the mean of an empty bin",
    "neighbours.rarity_scores": "of a sample in no ball of the real cloud",
    "metrics.effective_sample_size": "of draws that never move",
    "metrics.monte_carlo_error": "of draws that never move",
    "metrics.r_hat": "of draws that never move",
}
"""Where the docstring promises NaN."""


def arguments_of(case: Case, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, object]:
    """A valid call's."""
    return case.make(torch.Generator().manual_seed(seed), dtype)


def tensors(arguments: dict[str, object]) -> dict[str, Tensor]:
    """Those that can be attacked."""
    return {name: value for name, value in arguments.items() if isinstance(value, Tensor)}


def kept(arguments: dict[str, object]) -> dict[str, Tensor]:
    """Copies."""
    return {name: value.detach().clone() for name, value in tensors(arguments).items()}


def unchanged(arguments: dict[str, object], before: dict[str, Tensor]) -> bool:
    """Whether every tensor still holds what it held, NaN included."""
    now = {name: value.detach() for name, value in tensors(arguments).items()}
    return all(torch.equal(before[name].nan_to_num(), now[name].nan_to_num()) for name in before)


def _draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed + 1)


def harmless(case: Case, parameter: str, kind: str, seed: int = 0) -> str | None:
    """The same numbers in another form: the same result."""
    plain, words = refused(lambda: case.call(**arguments_of(case, seed)))
    if words is not None:  # random data may be none: no wrong prediction among few, say
        return None
    arguments = arguments_of(case, seed)
    arguments[parameter] = HARMLESS[kind](tensors(arguments)[parameter], _draw(seed))
    result, words = refused(lambda: case.call(**arguments))
    return f"refused: {words}" if words else agree(result, plain, rtol=1e-5, scale=1.0)


def poison(case: Case, parameter: str, kind: str, seed: int = 0) -> str | None:
    """No argument: refused by name."""
    arguments = arguments_of(case, seed)
    value = tensors(arguments)[parameter]
    if not value.is_floating_point() and kind in ("NaN", "infinite", "minus infinite", "half"):
        return None
    arguments[parameter] = POISON[kind](value, _draw(seed))
    try:
        _, words = refused(lambda: case.call(**arguments))
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:90]}"
    if words is None:
        return "taken"
    return None if parameter in words else f"not named in {words[:90]!r}"


def extreme(case: Case, parameter: str, kind: str, seed: int = 0) -> str | None:
    """Hard: in float32 as in float64, or refused; nothing changed."""
    arguments = arguments_of(case, seed)
    value = tensors(arguments)[parameter]
    if not value.is_floating_point():
        return None
    arguments[parameter] = EXTREME[kind](value, _draw(seed))
    exact, before = _in_float64(arguments), kept(arguments)
    try:
        result, words = refused(lambda: case.call(**arguments))
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:90]}"
    if not unchanged(arguments, before):
        return "changed its argument"
    if words is not None:
        return None
    if case.name not in UNDEFINED and any(
        t.isnan().any() for t in tensors_of(result) if t.is_floating_point()
    ):
        return "NaN"
    expected, refusal = refused(lambda: case.call(**exact))
    return None if refusal else agree(result, expected, rtol=2e-3, scale=max(_largest(expected), 1e-6))


def _in_float64(arguments: dict[str, object]) -> dict[str, object]:
    """The same arguments, exactly, in the wider type; generators from their start."""
    wide = {
        n: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for n, v in arguments.items()
    }
    return {
        n: torch.Generator().manual_seed(0) if isinstance(v, torch.Generator) else v for n, v in wide.items()
    }


def _largest(result: object) -> float:
    sizes = [float(t.double().abs().nan_to_num(0.0).max()) for t in tensors_of(result) if t.numel()]
    return max(sizes, default=0.0)


JUDGES = {"harmless": (harmless, HARMLESS), "poison": (poison, POISON), "extreme": (extreme, EXTREME)}
"""With their attacks."""
