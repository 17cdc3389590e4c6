"""Two processes train to the numbers of one with the joint batch, for losses that are means and for those that are
none."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.gan import two_ranks

SCRIPT = Path(__file__).with_name("two_ranks.py")


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    path = tmp_path_factory.mktemp("ranks") / "weights"
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(SCRIPT),
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("name", list(two_ranks.KINDS))
def test_two_processes_are_one(of_two, name):
    alone = two_ranks.run(name).generator.state_dict()
    for key, value in alone.items():
        torch.testing.assert_close(of_two[name][key], value, rtol=1e-5, atol=1e-5)


def test_a_batch_that_does_not_divide_is_refused(monkeypatch):
    from gan import distributed

    monkeypatch.setattr(distributed, "ranks", lambda: 3)
    with pytest.raises(ValueError, match="multiple of the 3 processes, got 16"):
        distributed.share(16)


def test_batch_normalisation_of_a_part_is_refused(monkeypatch):
    """In one process, frozen, or replaced as the message says, it trains."""
    from torch import nn

    from gan import GAN, distributed, losses, networks

    def made(norm):
        net = nn.Sequential(nn.Linear(3, 8), norm, nn.ReLU(), nn.Linear(8, 2))
        return networks.Generator(net, latent_dim=3)

    def fit(generator):
        data = torch.randn(16, 2, generator=torch.Generator().manual_seed(0))
        return GAN(generator, loss=losses.Energy()).fit(
            data, steps=1, batch_size=4, device="cpu", progress=False
        )

    fit(made(nn.BatchNorm1d(8)))
    monkeypatch.setattr(distributed, "ranks", lambda: 2)
    for norm in (nn.BatchNorm1d(8), nn.SyncBatchNorm(8), nn.BatchNorm1d(8, track_running_stats=False).eval()):
        with pytest.raises(
            ValueError, match=r"joint batch of the 2 processes.*convert_sync_batchnorm.*GroupNorm"
        ):
            distributed.refuse_batch_norm("generator", made(norm))
    distributed.refuse_batch_norm("generator", made(nn.BatchNorm1d(8)).eval())
    distributed.refuse_batch_norm("generator", made(nn.GroupNorm(2, 8)))
    distributed.refuse_batch_norm("critic", None)
    with pytest.raises(ValueError, match="generator must see the joint batch"):
        fit(made(nn.BatchNorm1d(8)))
