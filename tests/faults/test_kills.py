"""Kill -9 of real processes: what was killed goes on to the same bits and has lost one interval at most.

One kill of each kind of run, at a random moment of its work; `benchmarks/faults.py` does hundreds.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import faults
import pytest
import torch

from metrics import files

ROOT = Path(__file__).resolve().parents[2]


QUICKEST = "collector"


@pytest.mark.parametrize(
    "kind", [k if k == QUICKEST else pytest.param(k, marks=pytest.mark.slow) for k in faults.KINDS]
)
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
generator = networks.mlp_generator(2, latent_dim=2, hidden=(4,), bounded=False)
model = GAN(generator, networks.mlp_critic(2, hidden=(4,)), loss=losses.NonSaturating())
def look(step, *_):
    first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if sys.argv[2] == "dies" and first and step == 7 and torch.distributed.get_rank() == 1:
        os._exit(3)
model.fit(
    cloud, steps=12, batch_size=8, device="cpu", progress=False, checkpoint=sys.argv[1], checkpoint_every=3,
    on_step=look, on_step_every=1,
)
torch.distributed.destroy_process_group()
"""
BOUND = 300
"""Seconds: were a rank to wait for the dead one, it would be gloo's 30 minutes."""


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def two_ranks(folder: Path, how: str) -> list[tuple[int, str]]:
    """Both ranks' exit codes and last words; nobody looks after them."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", RANKS, str(folder / "run.safetensors"), how]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": "2"}
    both = [
        subprocess.Popen(
            command, env=environment() | place | {"RANK": rank}, stderr=subprocess.PIPE, text=True
        )
        for rank in "01"
    ]
    words = [one.communicate(timeout=BOUND)[1] for one in both]
    return [(one.returncode, said) for one, said in zip(both, words, strict=True)]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    return files.read(folder / "run.safetensors")[0]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[key].nan_to_num(), other[key].nan_to_num()) for key in one
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert [code for code, _ in two_ranks(folder, "lives")] == [0, 0]
    return checkpoint(folder)


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_others_with_a_message_and_a_restart_goes_on(tmp_path, whole):
    (code, said), (died, _) = two_ranks(tmp_path, "dies")
    assert died == 3
    assert code == 1
    assert "another of the 2 processes of this run has ended or does not answer" in said
    assert len(checkpoint(tmp_path)["history"]) == 6
    assert [code for code, _ in two_ranks(tmp_path, "lives")] == [0, 0]  # the remedy
    assert same(checkpoint(tmp_path), whole)
