"""Two processes under torchrun against one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metrics.streaming.ranks import rank_count


def test_one_process_is_one_rank():
    assert rank_count() == 1


@pytest.mark.slow
def test_two_ranks_equal_one_process():
    script = Path(__file__).with_name("two_ranks.py")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, str(script)], env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("differs from one process") == 14
