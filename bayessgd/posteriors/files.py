"""Reading posteriors back: one safetensors file, dispatched by the kind that its header names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayessgd.posteriors.base import FORMAT, Posterior
from bayessgd.posteriors.ensemble import Ensemble
from bayessgd.posteriors.gaussian import LowRankGaussian
from bayessgd.posteriors.mixture import Mixture
from metrics import files

__all__ = ["load"]

Tensors = Mapping[str, Tensor]


def _part(tensors: Tensors, part: str, names: list[str]) -> dict[str, Tensor]:
    return {name: tensors[f"{part}/{name}"] for name in names}


def _gaussian(tensors: Tensors, rest: Any) -> Posterior:
    names = rest["names"]
    has_rows = any(key.startswith("deviations/") for key in tensors)
    return LowRankGaussian(
        _part(tensors, "mean", names),
        _part(tensors, "variance", names),
        _part(tensors, "deviations", names) if has_rows else None,
        scale=rest["scale"],
    )


def _ensemble(tensors: Tensors, rest: Any) -> Posterior:
    draws = _part(tensors, "draws", rest["names"])
    buffers = _part(tensors, "buffers", rest.get("buffers", []))
    return Ensemble(draws, buffers=buffers, chains=rest.get("chains", 1), origin=rest.get("origin"))


def _mixture(tensors: Tensors, rest: Any) -> Posterior:
    components = []
    for i, part in enumerate(rest["components"]):
        own = {k.removeprefix(f"{i}/"): t for k, t in tensors.items() if k.startswith(f"{i}/")}
        components.append(_make(part["kind"], own, part["rest"]))
    return Mixture(components, rest["weights"])


KINDS: dict[str, Callable[[Tensors, Any], Posterior]] = {
    "low-rank Gaussian": _gaussian,
    "ensemble": _ensemble,
    "mixture": _mixture,
}


def _make(kind: str, tensors: Tensors, rest: Any) -> Posterior:
    if kind not in KINDS:
        raise ValueError(
            f"the file holds a posterior of unknown kind {kind!r}, known are {sorted(KINDS)}; update"
        )
    return KINDS[kind](tensors, rest)


def load(path: str | Path, *, device: torch.device | str | None = None) -> Posterior:
    """Return the posterior that `Posterior.save` wrote, with the same bits.

    Args:
        path: The file.
        device: Where its tensors go; `None` is the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is cut off, corrupt, not a posterior, or of an unknown kind.

    >>> import tempfile, torch
    >>> path = tempfile.mkdtemp() + "/posterior.safetensors"
    >>> Ensemble({"w": torch.ones(2, 1)}).save(path)
    >>> load(path).mean
    {'w': tensor([1.])}
    """
    tensors, metadata = files.read(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} must be a {FORMAT!r}, got {metadata.get('format')!r}; it is another file")
    try:
        posterior = _make(str(metadata.get("kind")), tensors, metadata.get("rest"))
    except KeyError as error:
        raise ValueError(
            f"{path} must hold what its header names, but lacks {error}; it is corrupt: take a copy of it"
        ) from None
    except (AttributeError, IndexError, RecursionError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"{path} must have the header of a posterior, got another ({error}); it is corrupt: take a copy of it"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} does not hold a posterior: {error}; take a copy of it") from None
    return posterior if device is None else posterior.to(device=device)
