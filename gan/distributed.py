"""One run in several processes: the numbers are those of one process with the joint batch.

Under `torchrun` every rank holds the same networks and the same random generator. A batch is drawn *whole* on each
rank, as numbers of indices and latents, and each rank takes its own rows of it through the networks. What a loss
sees are the scores, samples or embeddings of all ranks, gathered; the gradient of the joint loss by one rank's rows
is that rank's share, and the shares are summed before an optimizer moves. So a divergence that is no mean over
samples (Sinkhorn, MMD, Donsker–Varadhan, relativistic pairs) is that of the joint batch, which averaging gradients
of small batches would not be. A layer that mixes its batch sees one rank's rows: batch normalisation is refused unless
it is synchronised or only uses its running statistics, `MinibatchStd` takes its groups within a rank.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["broadcast", "gather", "part_of", "rank", "ranks", "refuse_batch_norm", "share", "sum_gradients"]


def ranks() -> int:
    """The number of processes of the run.

    >>> ranks(), rank()
    (1, 0)
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process."""
    return dist.get_rank() if ranks() > 1 else 0


def share(count: int) -> int:
    """The rows of a batch that each rank takes; a batch must divide among them."""
    if count % ranks():
        raise ValueError(f"batch_size must be a multiple of the {ranks()} processes, got {count}; change it")
    return count // ranks()


def refuse_batch_norm(name: str, network: torch.nn.Module | None) -> None:
    """Refuse batch normalisation whose statistics each of several processes would take from its own rows."""
    if ranks() == 1 or network is None:
        return
    kind = torch.nn.modules.batchnorm._BatchNorm
    for where, layer in network.named_modules():
        if not isinstance(layer, kind) or not (layer.training or layer.running_mean is None):
            continue
        on_cuda = all(p.device.type == "cuda" for p in layer.parameters())
        if isinstance(layer, torch.nn.SyncBatchNorm) and on_cuda:
            continue
        remedy = f"torch.nn.SyncBatchNorm.convert_sync_batchnorm({name}), which needs CUDA; on a CPU take GroupNorm"
        raise ValueError(
            f"{name} must see the joint batch of the {ranks()} processes, got {type(layer).__name__} at {where!r} on "
            f"{'CUDA' if on_cuda else 'a CPU'}, which would normalise by each process's own part; convert it with "
            f"{remedy}, or train in one process"
        )


def part_of(batch: Tensor) -> Tensor:
    """This rank's rows of a joint batch."""
    count = share(len(batch))
    return batch[rank() * count : (rank() + 1) * count] if ranks() > 1 else batch


def gather(part: Tensor) -> Tensor:
    """The joint batch of all ranks' rows; differentiable in this rank's own rows."""
    if ranks() == 1:
        return part
    parts = [torch.empty_like(part) for _ in range(ranks())]
    with _answered():
        dist.all_gather(parts, part.detach().contiguous())
    parts[rank()] = part
    return torch.cat(parts)


def sum_gradients(parameters: Sequence[Tensor]) -> None:
    """Add up every rank's share of the gradient, in one message."""
    if ranks() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    joint = torch.cat([g.flatten() for g in gradients])
    with _answered():
        dist.all_reduce(joint)
    for gradient, summed in zip(gradients, joint.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(summed.view_as(gradient))


def broadcast(module: torch.nn.Module) -> None:
    """Give every rank the first one's parameters and buffers."""
    if ranks() > 1:
        with _answered():
            for tensor in (*module.parameters(), *module.buffers()):
                dist.broadcast(tensor.detach(), 0)


@contextmanager
def _answered() -> Iterator[None]:
    """Say in plain words that another process has gone; its own words say why."""
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(
            f"another of the {ranks()} processes of this run has ended or does not answer; read what it said, and "
            "start all of them again: with checkpoint= the run goes on from there"
        ) from error
