"""Kill -9 of real processes: what was killed goes on to the same bits and has lost one interval at most.

One kill of each kind of run, at a random moment of its work; `benchmarks/faults.py` does hundreds.
"""

import os
import subprocess
import sys
from pathlib import Path

import faults
import pytest
import torch

from metrics import files

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", faults.KINDS)
def test_a_killed_run_goes_on_to_the_same_bits(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    hits = faults.killed(kind, tmp_path, 1, None)
    assert (hits.kills, hits.runs, hits.same) == (1, 1, 1)
    assert hits.lost <= faults.EVERY[kind]


RANKS = """
import os, sys, torch
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
from gan import GAN, losses, networks
torch.manual_seed(0)
cloud = torch.randn(64, 2)
model = GAN(
    networks.mlp_generator(2, latent_dim=2, hidden=(4,), bounded=False),
    networks.mlp_critic(2, hidden=(4,)),
    loss=losses.NonSaturating(),
)
def look(step, *_):
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if sys.argv[2] == "dies" and first and step == 7 and torch.distributed.get_rank() == 1:
        os._exit(3)
model.fit(
    cloud, steps=12, batch_size=8, device="cpu", progress=False, checkpoint=sys.argv[1], checkpoint_every=3,
    on_step=look, on_step_every=1,
)
torch.distributed.destroy_process_group()
"""


def torchrun(folder: Path, how: str, restarts: int) -> "subprocess.CompletedProcess[str]":
    folder.mkdir(exist_ok=True)
    script = folder / "ranks.py"
    script.write_text(RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [f"--max-restarts={restarts}", str(script), str(folder / "run.safetensors"), how]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    # Were a rank to wait for the dead one, this would not end.
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)


def checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    return files.read(folder / "run.safetensors")[0]


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_run_and_a_restart_goes_on(tmp_path):
    assert torchrun(tmp_path / "whole", "lives", 0).returncode == 0
    whole = checkpoint(tmp_path / "whole")
    ended = torchrun(tmp_path / "dead", "dies", 0)
    assert ended.returncode != 0
    assert "exitcode  : 3" in ended.stderr
    assert len(checkpoint(tmp_path / "dead")["history"]) == 6
    restarted = torchrun(tmp_path / "dead", "lives", 0)
    assert restarted.returncode == 0, restarted.stderr
    by_itself = torchrun(tmp_path / "again", "dies", 1)
    assert by_itself.returncode == 0, by_itself.stderr
    for name in ("dead", "again"):
        found = checkpoint(tmp_path / name)
        assert found.keys() == whole.keys()
        assert all(torch.equal(found[k].nan_to_num(), whole[k].nan_to_num()) for k in whole), name
