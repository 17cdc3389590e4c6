"""The states of all ranks of a distributed run, each in the hands of every rank.

States differ in size from rank to rank (a rank may have seen nothing), which a collective of tensors does not allow:
each state travels as the bytes of a safetensors file, padded to the longest. Every rank then merges the same states
in the order of the ranks, so that all reach the same bits.
"""

from collections.abc import Iterator, Mapping

import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor

__all__ = ["gather_states", "rank_count"]


def rank_count() -> int:
    """Return the number of ranks of the default group, 1 where nothing is distributed.

    >>> rank_count()
    1
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_states(state: Mapping[str, Tensor], device: torch.device | None) -> Iterator[dict[str, Tensor]]:
    """Yield the state of every rank, in their order, on `device`, or on the CPU where that is None.

    Every rank must call it.
    """
    # NCCL moves only what is on a GPU; every other backend takes the CPU's.
    on = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else "cpu"
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    length = torch.tensor([len(content)], device=on)
    lengths = [torch.empty_like(length) for _ in range(rank_count())]
    dist.all_gather(lengths, length)
    padded = torch.zeros(int(torch.stack(lengths).max()), dtype=torch.uint8, device=on)
    padded[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(on)
    del content
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    for size in lengths:
        content = parts.pop(0)[: int(size)].cpu().numpy().tobytes()
        yield {name: tensor.to(device or "cpu") for name, tensor in load(content).items()}
