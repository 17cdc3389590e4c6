"""The example end to end, small, as a user runs it."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan.data import mnist
from tests.examples import running

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
    "nearer_train",
)


def _interruptible():
    """Ctrl-C works in the child, also where the tests themselves run in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def run(*arguments):
    return running.run(
        "gan_metrics", "--quiet", *(() if "--jobs" in arguments else ("--jobs", "1")), *arguments
    )


def test_the_digits_with_three_losses(tmp_path):
    size = ("--steps", "5", "--evaluated", "120")
    first = run("--jobs", "2", *size, "--out", str(tmp_path / "a"))
    assert first.returncode == 0, first.stderr
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    assert set(results) == {"config", "floor", "losses"}
    assert list(results["losses"]) == ["js", "wgan-gp", "sinkhorn"]
    for loss in results["losses"].values():
        assert set(METRICS) == set(loss["metrics"])
        assert all(m["stderr"] >= 0 and isinstance(m["value"], float) for m in loss["metrics"].values())
        assert loss["seconds"] > 0
    assert set(METRICS) - {"nearer_train"} == set(results["floor"]), "training points are their own nearest"
    assert results["floor"]["nn_accuracy"]["value"] == pytest.approx(0.5, abs=0.1)
    assert len(results["config"]["features"].split()[-1]) >= 12
    report = (tmp_path / "a" / "report.md").read_text()
    for figure in ("samples.png", "measures.png", "curves.png"):
        assert (tmp_path / "a" / figure).read_bytes()[:4] == b"\x89PNG"
        assert f"({figure})" in report
    for name in METRICS:
        assert name in first.stdout
    again = run("--jobs", "1", *size, "--out", str(tmp_path / "b"))
    table = first.stdout.split("\n\n")[0]
    assert table == again.stdout.split("\n\n")[0], (
        "the same seed gives the same table, however many processes"
    )


def test_a_mixture_goes_on_from_its_checkpoint(tmp_path):
    arguments = ("--data", "ring", "--losses", "energy", "--steps", "5", "--resume", "--evaluated", "100")
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
        (("--data", "cifar"), "choose from digits, mnist, ring, grid, or name a folder"),
        (("--seed", "-1"), "--seed must be at least 0"),
        (("--amp",), "--amp needs a CUDA device"),
        (("--device", "mps"), "device"),
        (("--resume", "--overwrite"), "give one of them"),
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


def test_a_folder_of_pictures_becomes_a_table_and_pictures(tmp_path):
    """Pictures of two classes, grey, 28 by 28."""
    random = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 128)):
        (tmp_path / "in" / name).mkdir(parents=True)
        for i in range(70):
            pixels = random.integers(low, low + 128, (28, 28), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "in" / name / f"{i}.png")
    arguments = ("--data", str(tmp_path / "in"), "--losses", "js", "energy", "--steps", "3", "--conditional")
    done = run(*arguments, "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["config"]["train"] == 112
    assert set(results["losses"]) == {"js", "energy"}
    assert (tmp_path / "out" / "samples.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("count", [600, pytest.param(2000, marks=pytest.mark.slow)])
def test_png_files_go_to_table_and_pictures(count, tmp_path):
    """Random training images of MNIST, 28 by 28, in a folder for each class."""
    root = Path(os.environ.get("BAYESSGD_DATA", ROOT.parent / "shared" / "data")) / "mnist"
    if not root.is_dir():
        pytest.skip(f"MNIST is not in {root}; name its parent folder in BAYESSGD_DATA")
    data = mnist(root)
    images, labels = data.train, data.train_labels
    picked = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count]
    pixels = ((images[picked] + 1) * 127.5).round().to(torch.uint8).reshape(-1, 28, 28).numpy()
    for i, (label, array) in enumerate(zip(labels[picked].tolist(), pixels, strict=True)):
        (tmp_path / "in" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(tmp_path / "in" / str(label) / f"{i}.png")
    done = run(
        *("--data", str(tmp_path / "in"), "--losses", "js", "--steps", "2", "--evaluated", "100"),
        *("--out", str(tmp_path / "out")),
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["config"]["train"] == count * 4 // 5
    assert set(METRICS) <= set(results["losses"]["js"]["metrics"])
    for figure in ("samples.png", "measures.png", "curves.png"):
        assert (tmp_path / "out" / figure).read_bytes()[:4] == b"\x89PNG"
    # The folder's pictures are those that were written, so its floor is that of MNIST with itself.
    assert results["floor"]["nn_accuracy"]["value"] == pytest.approx(0.5, abs=0.15)


def test_a_file_of_points_and_what_a_second_run_is_told(tmp_path):
    np.save(tmp_path / "points.npy", np.random.default_rng(0).normal(size=(150, 5)))
    arguments = ("--data", str(tmp_path / "points.npy"), "--losses", "energy", "--steps", "3")
    out = ("--out", str(tmp_path / "out"))
    assert run(*arguments, *out).returncode == 0
    again = run(*arguments, *out)
    assert again.returncode == 2
    assert "--overwrite to begin anew, --resume to go on" in again.stderr
    longer = run(
        "--data", str(tmp_path / "points.npy"), "--losses", "energy", "--steps", "6", *out, "--resume"
    )
    assert longer.returncode == 0, longer.stderr
    assert "goes on from step 3 as one of 6" in longer.stderr
    shorter = run(*arguments, *out, "--resume")
    assert shorter.returncode == 2
    assert "steps must be at least the 6" in shorter.stderr
    assert run(*arguments, *out, "--overwrite").returncode == 0
    (tmp_path / "file").write_text("")
    beside = run(*arguments, "--out", str(tmp_path / "file"))
    assert beside.returncode == 2
    assert "argument --out: results go to a folder, or one that can be made" in beside.stderr
    assert "Traceback" not in again.stderr + shorter.stderr + beside.stderr


def test_an_interruption_of_several_processes_leaves_none_behind(tmp_path):
    """Ctrl-C goes to the whole group, as in a terminal; what was done is gone on from."""
    command = [
        sys.executable,
        str(ROOT / "examples" / "gan_metrics.py"),
        "--quiet",
        "--data",
        "ring",
        "--jobs",
        "2",
    ]
    command += ["--losses", "energy", "sliced", "--evaluated", "100", "--out", str(tmp_path)]
    endless = [*command, "--steps", "1000000"]
    process = subprocess.Popen(
        endless,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        preexec_fn=_interruptible,
    )
    try:
        started = 0
        for line in process.stderr:
            started += line.count("1000000 steps")
            if started == 2:
                os.killpg(process.pid, signal.SIGINT)
                break
        _, err = process.communicate(timeout=120)  # returns when every process has closed its end
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 130, err
    assert err.count("\n") == 1
    assert "--resume" in err
    done = run(*command[3:], "--steps", "20", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert set(json.loads((tmp_path / "results.json").read_text())["losses"]) == {"energy", "sliced"}


def test_a_mistake_in_a_process_is_told_in_one_line(tmp_path):
    bad = tmp_path / "checkpoints" / "ring-sliced-0.safetensors"
    bad.parent.mkdir()
    bad.write_bytes(b"no checkpoint")
    arguments = ("--data", "ring", "--losses", "energy", "sliced", "--steps", "5", "--jobs", "2", "--resume")
    answer = run(*arguments, "--out", str(tmp_path))
    assert answer.returncode == 2
    assert answer.stderr.splitlines()[-1].startswith("gan_metrics: sliced: ")
    assert "Traceback" not in answer.stderr


def test_an_interruption_shows_what_is_finished_and_goes_on(tmp_path):
    folder = tmp_path / "a run"
    command = [sys.executable, str(ROOT / "examples" / "gan_metrics.py"), "--quiet", "--data", "ring"]
    command += [
        "--losses",
        "energy",
        "sliced",
        "--steps",
        "50",
        "--evaluated",
        "100",
        "--jobs",
        "1",
        "--out",
        str(folder),
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=_interruptible,
    )
    for line in process.stderr:
        if line.startswith("sliced"):
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "energy" in out
    told = shlex.split(err.split("this goes on: ")[1])
    assert told == ["python", *command[1:], "--resume"], "a shell reads the command that is told"
    assert list(json.loads((folder / "results.json").read_text())["losses"]) == ["energy"]
    again = run(*command[3:], "--resume")
    assert again.returncode == 0, again.stderr
    assert set(json.loads((folder / "results.json").read_text())["losses"]) == {"energy", "sliced"}
