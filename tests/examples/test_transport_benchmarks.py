"""The transport benchmarks run from the command line, on a few problems."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / script, *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_accuracy(tmp_path):
    told = run("transport_accuracy.py", "--every", 270, "--out", tmp_path / "page.md")
    assert "4 problems" in told
    assert "value: 0 of 4 above 1e-04" in told
    assert (tmp_path / "page.md").read_text().strip() == told.strip()


@pytest.mark.slow
def test_gpu_benchmark_on_the_cpu(tmp_path):
    small = ("--repeats", 1, "--steps", 2, "--largest", 256)
    told = run("gpu.py", "--device", "cpu", *small, "--out", tmp_path / "gpu.md")
    assert "in pieces" in told
    assert "Wasserstein" in told
    assert (tmp_path / "gpu.md").is_file()
