"""One of two processes, run by test_ranks.py: chains in parts, and a collector with batches that do not divide.

Both hold what they have against one process with all of it.
"""

import sys

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import mse_loss
from torch.nn.parallel import DistributedDataParallel

from bayessgd import SWAG, Chains, Ensemble, gather_ensemble
from bayessgd.params import flatten
from tests.bayessgd.collectors.runs import network

CHAINS, BATCH, STEPS = 4, 6, 10
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def trained(part: tuple[int, int]) -> Chains:
    """Train the chains of a part on their own batches, which are drawn for all of them."""
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).double()
    chains = Chains(net, CHAINS, seed=5, part=part)
    optimizer = torch.optim.SGD(chains.parameters(), lr=0.05, momentum=0.9)
    random, size = torch.Generator().manual_seed(1), CHAINS // part[1]
    mine = slice(part[0] * size, (part[0] + 1) * size)
    for _ in range(STEPS):
        x = torch.randn(CHAINS, BATCH, 2, dtype=torch.float64, generator=random)[mine]
        optimizer.zero_grad()
        chains.loss(mse_loss, x, x.sum(-1, keepdim=True)).sum().backward()
        optimizer.step()
    return chains


def check_chains(rank: int) -> None:
    """Two parts, gathered, are the whole."""
    whole, found = trained((0, 1)).posterior(), gather_ensemble(trained((rank, 2)).posterior())
    assert len(found) == CHAINS
    for ours, truth in ((found.draws, whole.draws), (found.buffers, whole.buffers)):
        assert list(ours) == list(truth)
        for name, tensor in truth.items():
            torch.testing.assert_close(ours[name], tensor, **CLOSE)
    with pytest.raises(ValueError, match=r"rank 1 differs from rank 0. Give each an equal part"):
        gather_ensemble(Ensemble({"w": torch.zeros(1 + rank, 2)}))


def collected(net: nn.Module, mine: slice, ranks: int) -> SWAG:
    """Train on batches whose last has 5 rows, and weigh each row alike: averaged over processes, R n_r/n."""
    collector = SWAG(net, rank=3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    random = torch.Generator().manual_seed(2)
    with collector.attach(optimizer):
        for rows in (8, 8, 5) * 3:
            x = torch.randn(rows, 2, generator=random, dtype=torch.float64)
            own = x[mine]
            optimizer.zero_grad()
            errors = (net(own) - own.sum(1, keepdim=True)).square()
            (errors.sum() * ranks / rows).backward()
            optimizer.step()
    return collector


def check_collectors(rank: int) -> None:
    """Under DDP and under FSDP2 the posterior is that of one process."""
    mine = slice(rank, None, 2)  # of the last batch 3 rows and 2
    truth = collected(network(), slice(None), 1).posterior()
    sharded = network()
    for layer in (sharded[0], sharded[2], sharded):
        fully_shard(layer, mesh=init_device_mesh("cpu", (2,)))
    for net in (DistributedDataParallel(network()), sharded):
        found = collected(net, mine, 2).posterior()
        torch.testing.assert_close(flatten(found.mean), flatten(truth.mean), **CLOSE)
        for kind in ("deviations", "variance"):
            for name, tensor in getattr(truth, kind).items():
                torch.testing.assert_close(getattr(found, kind)[name], tensor, rtol=1e-9, atol=1e-12)


def main(folder: str, rank: int) -> None:
    """Everything, in one group."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    check_chains(rank)
    check_collectors(rank)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
