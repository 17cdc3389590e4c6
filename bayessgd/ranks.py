"""Chains spread over processes: each process runs its part of them, and the draws are gathered.

Chains do not talk, so that k of them in each of R processes are R·k chains, and nothing is sent until the end:

    chains = Chains(net, 64, seed=0, part=(dist.get_rank(), dist.get_world_size()))
    ...                                                  # each process trains its own
    posterior = gather_ensemble(chains.posterior())      # all 64, on every process

Chain i has the start that it has in one process, and under a rule without noise, with the batches that it has there,
the same path. Samplers' noise is drawn by each process, and torch's default generator begins with the same seed in all:
give each a `generator=` of its own seed, or chains of different processes move alike and count for fewer than they are.
"""

import torch
import torch.distributed as dist

from bayessgd.posteriors import Ensemble

__all__ = ["gather_ensemble"]


def gather_ensemble(own: Ensemble) -> Ensemble:
    """Return the ensemble of all processes' draws, in the order of their ranks; on each of them.

    Memory: all draws, on every process. Without a process group, or in a group of one, it is the ensemble itself.

    Args:
        own: This process's draws, as many as every other's.

    Raises:
        TypeError: Not an ensemble.
        ValueError: Processes with different numbers of draws, or other parameters.

    >>> law = Ensemble({"w": torch.tensor([[1.0], [3.0]])})
    >>> len(gather_ensemble(law))
    2
    """
    if not isinstance(own, Ensemble):
        raise TypeError(
            f"own must be an Ensemble, got {type(own).__name__}; collect with Chains or Trajectory"
        )
    ranks = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if ranks == 1:
        return own
    _check_alike(own, ranks)
    draws = {name: _joined(t, ranks) for name, t in own.draws.items()}
    buffers = {name: _joined(t, ranks) for name, t in own.buffers.items()}
    return Ensemble(draws, buffers=buffers, chains=own.chains * ranks, origin=own.origin)


def _joined(part: torch.Tensor, ranks: int) -> torch.Tensor:
    parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(ranks)]
    dist.all_gather(parts, part.contiguous())
    return torch.cat(parts)


def _check_alike(own: Ensemble, ranks: int) -> None:
    """Refuse on every process what would hang or be misread on some."""
    mine = (
        own.chains,
        [(n, list(t.shape), str(t.dtype)) for n, t in [*own.draws.items(), *own.buffers.items()]],
    )
    told: list[object] = [None] * ranks
    dist.all_gather_object(told, mine)
    for rank, other in enumerate(told):
        if other != told[0]:
            raise ValueError(
                f"own must have the same draws on all {ranks} processes, by number, names, shapes and types; rank "
                f"{rank} differs from rank 0. Give each an equal part, Chains(..., part=(rank, {ranks}))"
            )
