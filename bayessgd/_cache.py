"""Draws that were paid for, on disk: found again under a key, and read only if they are of the same density.

A key of words (a network's structure, a prior's name) cannot see the code behind them. So with the draws their
potentials U(θᵢ) are kept, and before they are used again a few are computed anew: draws of another model, of
changed code or of other data do not pass.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from bayessgd.params import flatten
from bayessgd.posteriors import Ensemble, load
from metrics import files

__all__ = ["Cache"]

CHECKED = 8
"""Draws whose potential is computed anew."""


class Cache:
    """One file in a folder, named by what went into the draws.

    Args:
        folder: Where the files lie; made where it is missing.
        name: What the file's name begins with.
        words: What describes the problem.
        tensors: What else it consists of.
    """

    def __init__(self, folder: Path, name: str, words: Iterable[str], tensors: Iterable[Tensor]) -> None:
        digest = hashlib.sha256()
        for word in words:
            digest.update(word.encode() + b"\0")
        for tensor in tensors:
            own = tensor.detach().cpu().contiguous()
            digest.update(f"{own.dtype} {list(own.shape)}".encode())
            digest.update(own.view(-1).view(torch.uint8).numpy().tobytes())
        stem = f"{name}-{digest.hexdigest()[:24]}"
        self.path = folder / f"{stem}.safetensors"
        self.checks = folder / f"{stem}.checks.safetensors"

    def load(self, potential: Callable[[Tensor], Tensor]) -> Ensemble | None:
        """Return the draws, or None where there are none, or where they are of another density: that warns."""
        if not (self.path.exists() and self.checks.exists()):
            return None
        try:
            posterior = cast(Ensemble, load(self.path))
            known, _ = files.read(self.checks)
            again = _potentials(posterior, potential)
        except (ValueError, RuntimeError) as error:
            warnings.warn(f"{self.path} cannot be read and is made anew: {error}", stacklevel=4)
            return None
        if not torch.allclose(known["potential"], again, rtol=1e-4 if again.dtype == torch.float32 else 1e-9):
            warnings.warn(
                f"{self.path} holds draws of another density, though model, prior and data are described "
                "alike, and is made anew: has the code of the model changed?",
                stacklevel=4,
            )
            return None
        return posterior

    def save(self, posterior: Ensemble, potential: Callable[[Tensor], Tensor]) -> None:
        """Keep the draws and the potentials of some; the draws last, so that what is there is whole."""
        files.write(self.checks, {"potential": _potentials(posterior, potential)}, {})
        posterior.save(self.path)


def _potentials(posterior: Ensemble, potential: Callable[[Tensor], Tensor]) -> Tensor:
    flat = flatten(posterior.draws, posterior.mean)
    some = torch.linspace(0, len(flat) - 1, min(CHECKED, len(flat))).long()
    return torch.stack([potential(flat[i]).detach() for i in some]).cpu()
