"""Chains and collectors in two processes are those of one; what does not divide is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from bayessgd import Chains, Ensemble, gather_ensemble


def test_two_processes_have_the_chains_and_the_posterior_of_one(tmp_path):
    script, root = Path(__file__).with_name("chain_ranks.py"), Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path), rank], env=env, stderr=subprocess.PIPE, text=True
        )
        for rank in "01"
    ]
    errors = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(errors)


@pytest.mark.parametrize("jitter", [None, 0.1])
def test_a_part_has_the_starts_of_the_whole(jitter):
    net = nn.Linear(2, 1)
    whole = Chains(net, 6, seed=3, jitter=jitter).posterior().draws
    parts = [Chains(net, 6, seed=3, jitter=jitter, part=(r, 3)) for r in range(3)]
    assert [len(part) for part in parts] == [2, 2, 2]
    for name, draws in whole.items():
        assert torch.equal(torch.cat([part.posterior().draws[name] for part in parts]), draws)


def test_parts_that_are_none_are_refused_and_the_remedy_arrives():
    net = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="num_chains must be a multiple of the 4 parts, got 6; take 8"):
        Chains(net, 6, part=(0, 4))
    assert len(Chains(net, 8, part=(0, 4))) == 2
    with pytest.raises(ValueError, match="rank below its ranks, got 2 of 2"):
        Chains(net, 6, part=(2, 2))
    with pytest.raises(TypeError, match=r"part must be a pair \(rank, ranks\), got 2"):
        Chains(net, 6, part=2)


def test_alone_an_ensemble_is_itself_and_others_are_refused():
    law = Ensemble({"w": torch.zeros(2, 1)})
    assert gather_ensemble(law) is law
    with pytest.raises(TypeError, match="own must be an Ensemble, got Linear"):
        gather_ensemble(nn.Linear(1, 1))
