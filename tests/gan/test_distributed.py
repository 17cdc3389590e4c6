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
