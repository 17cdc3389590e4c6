"""Draws that were paid for, on disk: found again under a key, and read only if they are of the same density.

A key of words (a network's structure, a prior's name) cannot see the code behind them. So with the draws their
potentials U(θᵢ) are kept, and before they are used again a few are computed anew: draws of another model, of
changed code or of other data do not pass.

Chains that are drawn one after another are kept one by one, so that a run that was stopped has lost one chain at most;
when all are there they become one file. What cannot be written is warned of and never costs the draws.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bayessgd._over import warn
from bayessgd.params import flatten
from bayessgd.posteriors import Ensemble, load
from metrics import files
from metrics.inputs import check_count

__all__ = ["Cache", "Chain"]

CHECKED = 8
"""Draws whose potential is computed anew."""


@dataclass(frozen=True)
class Chain:
    """The draws of one chain [n, d], and what they cost."""

    theta: Tensor
    evaluations: int
    divergences: int


class Cache:
    """Files in a folder, named by what went into the draws.

    Args:
        folder: Where the files lie; made where it is missing.
        name: What the files' names begin with.
        words: What describes the problem.
        tensors: What else it consists of.
        potential: U(θ) of a flat θ, by which the draws are known again.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        words: Iterable[str],
        tensors: Iterable[Tensor],
        potential: Callable[[Tensor], Tensor],
    ) -> None:
        digest = hashlib.sha256()
        for word in words:
            digest.update(word.encode() + b"\0")
        for tensor in tensors:
            own = tensor.detach().cpu().contiguous()
            digest.update(f"{own.dtype} {list(own.shape)}".encode())
            digest.update(own.view(-1).view(torch.uint8).numpy().tobytes())
        self._stem = f"{name}-{digest.hexdigest()[:24]}"
        self._folder, self._potential = folder, potential
        self.path = folder / f"{self._stem}.safetensors"
        self.checks = folder / f"{self._stem}.checks.safetensors"

    def load(self) -> Ensemble | None:
        """Return the draws, or None where there are none, or where they are of another density: that warns."""
        if not (self.path.exists() and self.checks.exists()):
            return None
        try:
            posterior, (known, _) = load(self.path), files.read(self.checks)
            if not isinstance(posterior, Ensemble):
                raise ValueError(f"{self.path} must hold draws, got a {type(posterior).__name__}")
            same = self._is_same(known.get("potential"), flatten(posterior.draws, posterior.mean))
        except (ValueError, RuntimeError) as error:
            return self._warn(f"{self.path} cannot be read and is made anew: {error}")
        return posterior if same else self._warn_of_another(self.path)

    def save(self, posterior: Ensemble) -> None:
        """Keep the draws and the potentials of some; the draws last, so that what is there is whole."""
        try:
            checked = self._checked(flatten(posterior.draws, posterior.mean))
            files.write(self.checks, {"potential": checked}, {})
            posterior.save(self.path)
            for index in range(posterior.chains):
                self._path_of(index).unlink(missing_ok=True)
        except OSError as error:
            self._warn(f"the draws are not kept: {error}")

    def load_chain(self, index: int) -> Chain | None:
        """Return one chain of a run that was stopped; None as `load`."""
        path = self._path_of(index)
        if not path.exists():
            return None
        try:
            tensors, told = files.read(path)
            theta, counts = tensors["theta"], (told["evaluations"], told["divergences"])
            same = self._is_same(tensors.get("potential"), theta)
            chain = Chain(theta, *(check_count(count, "count", least=0) for count in counts))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            return self._warn(f"{path} cannot be read and is made anew: {error}")
        return chain if same else self._warn_of_another(path)

    def save_chain(self, index: int, chain: Chain) -> None:
        """Keep one chain until all are there."""
        told = {"evaluations": chain.evaluations, "divergences": chain.divergences}
        try:
            tensors = {"theta": chain.theta, "potential": self._checked(chain.theta)}
            files.write(self._path_of(index), tensors, told)
        except OSError as error:
            self._warn(f"chain {index} is not kept: {error}")

    def _path_of(self, index: int) -> Path:
        return self._folder / f"{self._stem}.chain{index}.safetensors"

    def _checked(self, flat: Tensor) -> Tensor:
        some = torch.linspace(0, len(flat) - 1, min(CHECKED, len(flat))).long()
        return torch.stack([self._potential(flat[i]).detach() for i in some]).cpu()

    def _is_same(self, known: Tensor | None, flat: Tensor) -> bool:
        again = self._checked(flat)
        if known is None or known.shape != again.shape or known.dtype != again.dtype:
            return False
        return torch.allclose(known, again, rtol=1e-4 if again.dtype == torch.float32 else 1e-9)

    def _warn_of_another(self, path: Path) -> None:
        return self._warn(
            f"{path} holds draws of another density, though model, prior and data are described "
            "alike, and is made anew: has the code of the model changed?"
        )

    def _warn(self, told: str) -> None:
        warn(told, told)
