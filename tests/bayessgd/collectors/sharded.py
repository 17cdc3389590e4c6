"""One of two processes with parameters sharded by `fully_shard`; run by test_collector.py.

Both train on the same data, so the gradients are those of one process, and compare with that.
"""

import sys

import pytest
import torch
from torch.distributed import destroy_process_group, init_process_group
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from bayessgd.collectors import SWAG, IterateAverage, Trajectory
from bayessgd.params import flatten
from tests.bayessgd.collectors.runs import network


def steps(net, optimizer):
    random = torch.Generator().manual_seed(2)
    for _ in range(6):
        x = torch.randn(8, 2, generator=random, dtype=torch.float64)
        optimizer.zero_grad()
        (net(x) - x.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()


def collect(net):
    collectors = [SWAG(net, rank=3), IterateAverage(net), IterateAverage(net, window=2), Trajectory(net)]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for collector in collectors:
        collector.attach(optimizer)
    steps(net, optimizer)
    again = SWAG(net, rank=3)
    again.load_state_dict(collectors[0].state_dict())
    return [collector.posterior() for collector in (*collectors, again)]


def main(folder: str, rank: int) -> None:
    init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    sharded = network()
    mesh = init_device_mesh("cpu", (2,))
    for layer in (sharded[0], sharded[2], sharded):
        fully_shard(layer, mesh=mesh)  # of [3, 2] and [1, 3]: uneven shards, and an empty one
    with pytest.raises(ValueError, match="path must be None under fully_shard"):
        Trajectory(sharded, path=f"{folder}/rows")
    for ours, truth in zip(collect(sharded), collect(network()), strict=True):
        assert list(ours.mean) == list(truth.mean)
        # The mean of two equal gradients is the gradient, to the bit.
        assert torch.equal(flatten(ours.mean), flatten(truth.mean))
        for part in ("draws", "deviations", "variance"):
            for name, tensor in (getattr(truth, part, None) or {}).items():
                assert torch.equal(getattr(ours, part)[name], tensor)
    destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
