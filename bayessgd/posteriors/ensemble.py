"""Draws kept as they are: the empirical law of a Markov chain, of window means, of a deep ensemble.

    θ ~ (1/m) Σᵢ δ(θ − θᵢ)

The atoms θᵢ are whole networks, [m, *shape] by name, and where the networks have buffers that differ (BatchNorm's
statistics, the vectors of spectral norm) these go with them: member i predicts as network i did. It has a mean and
draws, but no density: `log_prob` says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from bayessgd.params import flatten
from bayessgd.posteriors._members import members
from bayessgd.posteriors._spread import spread
from bayessgd.posteriors.base import Draws, Packed, Posterior, check_draws, check_named, without_graph
from metrics.inputs import check_count, check_generator

__all__ = ["Ensemble"]


class Ensemble(Posterior):
    """The empirical law of m draws, each a whole network.

    Args:
        draws: From name to [m, *shape]; kept as they are and not copied, so that a large bank is held once.
        buffers: The members' own buffers, from name to [m, *shape] of any type; `None` where networks have none, or
            where they are made anew for each draw (`refresh_batchnorm`).
        chains: How many Markov chains of equal length the draws are, one after another.
        origin: How the draws were made, as plain JSON: settings, costs, diagnostics. It goes into the file.

    Raises:
        TypeError: Not a dict of floating tensors.
        ValueError: Different numbers of draws, none, a NaN, or chains that do not divide them.

    >>> import torch
    >>> law = Ensemble({"w": torch.tensor([[1.0], [3.0]])})
    >>> law.mean
    {'w': tensor([2.])}
    >>> law.sample(2)
    {'w': tensor([[1.],
            [3.]])}
    """

    def __init__(
        self,
        draws: Mapping[str, Tensor],
        *,
        buffers: Mapping[str, Tensor] | None = None,
        chains: int = 1,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        check_named(draws, "draws", lead=1)
        self.draws, self.buffers = without_graph(draws), dict(buffers or {})
        if len(self) == 0:
            raise ValueError("draws must not be empty, got 0 of them; collect first")
        self.chains = check_count(chains, "chains")
        if len(self) % chains:
            raise ValueError(
                f"chains must divide the {len(self)} draws, got {chains}; chains are equally long"
            )
        _check_buffers(self.buffers, len(self))
        self.origin: dict[str, Any] = dict(origin or {})

    @classmethod
    def of_modules(
        cls,
        modules: Sequence[nn.Module | Mapping[str, Tensor]] | nn.ModuleList,
        *,
        model: nn.Module | None = None,
        chains: int = 1,
        origin: Mapping[str, Any] | None = None,
    ) -> "Ensemble":
        """Return the ensemble of trained networks, or of their state dicts: a deep ensemble.

        Each member keeps its parameters and its buffers. Copies: the networks may train on.

        Args:
            modules: Networks of one architecture, or `state_dict()`s of it.
            model: Of state dicts, the network that tells parameters from buffers, and a child named `module` from
                the prefix of DDP; without it floating tensors are draws and the others buffers, which is enough to
                predict.
            chains: As the class.
            origin: As the class.

        Raises:
            TypeError: Neither modules nor state dicts.
            ValueError: None of them, or networks of different parameters.

        >>> nets = [nn.BatchNorm1d(2), nn.BatchNorm1d(2)]
        >>> law = Ensemble.of_modules(nets)
        >>> list(law.draws), list(law.buffers)
        (['weight', 'bias'], ['running_mean', 'running_var', 'num_batches_tracked'])
        """
        draws, buffers = members(modules, model)
        return cls(draws, buffers=buffers, chains=chains, origin=origin)

    @property
    def names(self) -> list[str]:
        """The parameters' names, in their order."""
        return list(self.draws)

    @property
    def usual_samples(self) -> int:
        """m: every member once."""
        return len(self)

    def __len__(self) -> int:
        return len(next(iter(self.draws.values())))

    def by_chain(self) -> dict[str, Tensor]:
        """Return the draws as [chains, m/chains, *shape] by name, the shape that `metrics.chains` takes; views."""
        return {name: t.unflatten(0, (self.chains, -1)) for name, t in self.draws.items()}

    @property
    def mean(self) -> dict[str, Tensor]:
        """The mean of the draws, from name to [*shape]; float64 inside."""
        return {name: _mean(t) for name, t in self.draws.items()}

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return n of the draws, in their order and spread evenly: n = m gives each once, more repeats them.

        Every draw is equally likely to be among them (systematic sampling), so means over the sample are
        unbiased; the picks are not independent of each other.
        """
        check_generator(generator)
        if check_draws(n) == len(self):
            return {name: t.clone() for name, t in self.draws.items()}
        return next(self.stream(n, n, generator=generator)).parameters

    def stream(self, n: int, size: int, *, generator: torch.Generator | None = None) -> Iterator[Draws]:
        """Yield the draws of `sample(n)` with their buffers, at most `size` at a time; views where n = m."""
        picked = None
        if n != len(self):
            some = next(iter(self.draws.values()))
            weights = torch.ones(len(self), dtype=torch.float64, device=some.device)
            picked = spread(weights, n, generator=generator)
        for start in range(0, n, size):
            rows = slice(start, start + size) if picked is None else picked[start : start + size]
            yield Draws(_rows(self.draws, rows), _rows(self.buffers, rows))

    def log_prob(self, params: Mapping[str, Tensor]) -> Tensor:
        """Refuse: points have no density.

        Raises:
            NotImplementedError: Always; the message says what has one.
        """
        raise NotImplementedError(
            "an Ensemble of points has no density; fit a LowRankGaussian to the iterates with SWAG, "
            "or use draws only"
        )

    def to_distribution(self) -> Distribution:
        """Return pyro's `Empirical` over [P]; its log_prob counts atoms."""
        from pyro.distributions import Empirical

        flat = flatten(self.draws, self.mean)
        return Empirical(flat, torch.zeros(len(self), dtype=flat.dtype, device=flat.device))

    def to(self, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Ensemble":
        """Return the ensemble on another device or in another type."""
        moved = {name: t.to(device=device, dtype=dtype) for name, t in self.draws.items()}
        buffers = {
            name: t.to(device=device, dtype=dtype if t.is_floating_point() else None)
            for name, t in self.buffers.items()
        }
        return Ensemble(moved, buffers=buffers, chains=self.chains, origin=self.origin)

    def pack(self) -> Packed:
        """Return the draws and where they come from."""
        rest: dict[str, object] = {"names": list(self.draws), "chains": self.chains, "origin": self.origin}
        tensors = {f"draws/{name}": t for name, t in self.draws.items()}
        if self.buffers:
            rest["buffers"] = list(self.buffers)
            tensors |= {f"buffers/{name}": t for name, t in self.buffers.items()}
        return Packed("ensemble", tensors, rest)


def _rows(tensors: Mapping[str, Tensor], which: slice | Tensor) -> dict[str, Tensor]:
    return {
        name: t[which] if isinstance(which, slice) else t[which.to(t.device)] for name, t in tensors.items()
    }


def _check_buffers(buffers: Mapping[str, Tensor], count: int) -> None:
    for name, tensor in buffers.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"buffers[{name!r}] must be a tensor, got {type(tensor).__name__}")
        if tensor.ndim == 0 or len(tensor) != count:
            raise ValueError(
                f"buffers[{name!r}] must have a row for each of the {count} draws, got {list(tensor.shape)}; stack "
                "them as the draws"
            )


def _mean(draws: Tensor) -> Tensor:
    # A few draws at a time: on the CPU a sum in another type first copies all of its input into that type.
    total = sum(piece.sum(0, dtype=torch.float64) for piece in draws.split(64))
    return torch.as_tensor(total / len(draws)).to(draws.dtype)
