"""One rank of several, started by test_ranks.py or by torchrun: the value over ranks is that of one process.

Shards are uneven, and for one of the rounds the last rank has seen nothing at all.
"""

import pytest
import torch
import torch.distributed as dist

from metrics.kernels.kernel import Gaussian
from metrics.streaming import MMD, BrierScore
from tests.metrics.streaming.measures import MEASURES, numbers


def compare(measure, rank: int, ranks: int, *, last_is_idle: bool) -> float:
    first, second = measure.data()
    owners = ranks - 1 if last_is_idle else ranks
    # Rank r of 2 holds every point i with i % 3 = r, and the last one the rest too: 1/3 and 2/3.
    a, b = (
        cloud[(torch.arange(len(cloud)) % (owners + 1)).clamp(max=owners - 1) == rank]
        for cloud in (first, second)
    )
    accumulator = measure.make()
    for part_a, part_b in zip(a.split(5), b.split(5), strict=False):
        measure.feed(accumulator, part_a, part_b)
    rest = 5 * min(-(-len(a) // 5), -(-len(b) // 5))
    measure.feed(accumulator, a[rest:], b[rest:])
    before = accumulator.state_dict()
    got, want = numbers(accumulator.compute()), numbers(measure.expected(first, second))
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    after = accumulator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    # Every rank has the same bits.
    both = [torch.empty_like(got) for _ in range(ranks)]
    dist.all_gather(both, got)
    assert all(torch.equal(other, got) for other in both)
    if len(a):
        alone = numbers(accumulator.compute(across_ranks=False))
        torch.testing.assert_close(alone, numbers(measure.expected(a, b)), rtol=1e-10, atol=1e-10)
    return float((got - want).abs().max())


def main() -> None:
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    for name, measure in MEASURES.items():
        gaps = [compare(measure, rank, ranks, last_is_idle=idle) for idle in (False, True)]
        if rank == 0:
            print(f"{name}: differs from one process by {max(gaps):.1e}")
    # Every rank refuses, none is left waiting: nothing fed anywhere, and a kernel fitted to each rank's own data.
    with pytest.raises(ValueError, match="at least 1 outcome"):
        BrierScore().compute()
    apart = MMD(kernel=Gaussian(1.0 + rank))
    apart.update(real=torch.zeros(2, 1), fake=torch.ones(2, 1))
    with pytest.raises(ValueError, match="state must have the settings"):
        apart.compute()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
