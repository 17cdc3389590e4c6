"""The example end to end, small, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
METRICS = (
    "wasserstein",
    "sinkhorn_divergence",
    "sliced_wasserstein",
    "mmd2",
    "energy_distance",
    "frechet_distance",
    "precision",
    "recall",
    "density",
    "coverage",
    "nn_accuracy",
)


def run(*arguments):
    command = [sys.executable, str(ROOT / "examples" / "gan_metrics.py"), "--quiet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_the_digits_with_three_losses(tmp_path):
    first = run("--steps", "10", "--out", str(tmp_path / "a"))
    assert first.returncode == 0, first.stderr
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    assert set(results) == {"config", "floor", "losses"}
    assert list(results["losses"]) == ["js", "wgan-gp", "sinkhorn"]
    for loss in results["losses"].values():
        assert set(METRICS) == set(loss["metrics"])
        assert all(m["stderr"] >= 0 and isinstance(m["value"], float) for m in loss["metrics"].values())
        assert loss["seconds"] > 0
    assert set(METRICS) == set(results["floor"])
    assert results["floor"]["nn_accuracy"]["value"] == pytest.approx(0.5, abs=0.1)
    assert len(results["config"]["features"].split()[-1]) >= 12
    report = (tmp_path / "a" / "report.md").read_text()
    for figure in ("samples.png", "measures.png", "curves.png"):
        assert (tmp_path / "a" / figure).read_bytes()[:4] == b"\x89PNG"
        assert f"({figure})" in report
    for name in METRICS:
        assert name in first.stdout
    again = run("--steps", "10", "--out", str(tmp_path / "b"))
    table = first.stdout.split("\n\n")[0]
    assert table == again.stdout.split("\n\n")[0], "the same seed gives the same table twice"


def test_a_mixture_goes_on_from_its_checkpoint(tmp_path):
    arguments = ("--data", "ring", "--losses", "energy", "--steps", "5", "--resume")
    first = run(*arguments, "--out", str(tmp_path))
    assert first.returncode == 0, first.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["losses"]["energy"]["metrics"]["modes"]["value"] <= 8
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    again = run(*arguments, "--out", str(tmp_path))
    assert first.stdout.split("\n\n")[0] == again.stdout.split("\n\n")[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--losses", "wasserstien"), "choose from"),
        (("--data", "cifar"), "choose from"),
        (("--data", "mnist"), "--data-dir"),
        (("--data", "mnist", "--data-dir", "nowhere"), "train-images-idx3-ubyte"),
        (("--steps", "0"), "--steps must be at least 1"),
        (("--device", "tpu9"), "device"),
    ],
)
def test_a_mistake_is_answered_in_one_line(tmp_path, arguments, message):
    answer = run(*arguments, "--out", str(tmp_path))
    assert answer.returncode == 2
    assert message in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert "Traceback" not in answer.stderr
