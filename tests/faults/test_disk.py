"""A full disk, a read-only folder, a kill while writing, two runs on one checkpoint, a clock that jumps."""

import errno
import io
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import bayessgd
from bayessgd import reference
from bayessgd.likelihoods import Gaussian
from bayessgd.posteriors import Ensemble
from bayessgd.priors import GaussianPrior
from gan import GAN, losses, networks
from metrics import files, locks
from metrics.features import cache_folder, digits_classifier, features_of

CLOUD = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))


def fit(path: Path | None, steps: int = 4, **changes: object) -> GAN:
    torch.manual_seed(0)
    generator = networks.mlp_generator(2, latent_dim=2, hidden=(3,), bounded=False)
    model = GAN(generator, networks.mlp_critic(2, hidden=(3,)), loss=losses.NonSaturating())
    own = {"batch_size": 4, "device": "cpu", "progress": False, "checkpoint": path, "checkpoint_every": 1}
    return model.fit(CLOUD, steps=steps, **{**own, **changes})


def same(one: GAN, other: GAN) -> bool:
    return all(
        torch.equal(a, b)
        for a, b in zip(one.generator.parameters(), other.generator.parameters(), strict=True)
    )


@pytest.fixture
def full(monkeypatch):
    """A disk on which so many bytes have room, over all files that are written from now on."""

    def fill(room: int) -> None:
        left = [room]

        class Full(io.FileIO):
            def write(self, content: Any) -> int:
                fits = bytes(content)[: max(left[0], 0)]
                left[0] -= len(content)
                super().write(fits)
                if len(fits) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return len(fits)

        monkeypatch.setattr("os.fdopen", Full)

    yield fill
    monkeypatch.undo()


def test_a_full_disk_leaves_the_earlier_file_and_says_what_to_do(tmp_path, full):
    path = tmp_path / "posterior.safetensors"
    Ensemble({"w": torch.zeros(2, 3)}).save(path)
    full(50)
    words = r"posterior.safetensors cannot be written \(No space left.*before is whole; make"
    with pytest.raises(OSError, match=words) as told:
        Ensemble({"w": torch.ones(2, 3)}).save(path)
    assert told.value.errno == errno.ENOSPC
    with pytest.raises(
        OSError, match=r"new.safetensors cannot be written \(No space.*nothing was written; make room"
    ):
        Ensemble({"w": torch.ones(2, 3)}).save(tmp_path / "new.safetensors")
    assert bayessgd.load(path).mean["w"].tolist() == [0.0, 0.0, 0.0]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_run_whose_disk_fills_up_goes_on_when_there_is_room(tmp_path, full, monkeypatch):
    path = tmp_path / "run.safetensors"
    fit(path, steps=6, on_step=lambda *_: True, on_step_every=1)
    size = path.stat().st_size
    full(int(2.5 * size))
    with pytest.raises(OSError, match=r"run.safetensors cannot be written .*before is whole; make room"):
        fit(path, steps=6)
    monkeypatch.undo()
    assert len(files.read(path)[0]["history"]) == 3
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert same(fit(path, steps=6), fit(None, steps=6))


@pytest.fixture
def no_folder(monkeypatch):
    """Root may write anywhere, so that a read-only folder is the system's answer to making a file there."""

    def make(folder: Path) -> None:
        real = os.open

        def opened(path: object, flags: int, *rest: object, **more: object) -> int:
            if Path(os.fspath(path)).parent == folder and flags & os.O_CREAT:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
            return real(path, flags, *rest, **more)

        monkeypatch.setattr("os.open", opened)

    yield make
    monkeypatch.undo()


def test_a_read_only_folder_is_told_before_the_training(tmp_path, no_folder):
    no_folder(tmp_path)
    steps: list[int] = []
    with pytest.raises(
        OSError, match=r"checkpoint .*run.safetensors cannot be written \(Read-only.*choose a folder"
    ):
        fit(tmp_path / "run.safetensors", on_step=lambda step, *_: steps.append(step), on_step_every=1)
    assert steps == []
    with pytest.raises(
        OSError, match=r"p.safetensors cannot be written \(Read-only.*name a file in a folder"
    ):
        Ensemble({"w": torch.ones(2, 3)}).save(tmp_path / "p.safetensors")


def laws(cache: Path) -> dict[str, object]:
    sampled = {"num_samples": 4, "num_warmup": 4, "num_chains": 2, "progress": False, "cache": cache}
    return {"likelihood": Gaussian(1.0), "prior": GaussianPrior(1.0), **sampled}


def draw(cache: Path) -> torch.Tensor:
    net = nn.Linear(2, 1, bias=False).double()
    nn.init.zeros_(net.weight)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="NUTS ended with")
        return reference.nuts(net, CLOUD.double(), CLOUD[:, :1].double(), **laws(cache)).draws["weight"]


def test_a_cache_that_cannot_be_written_costs_no_result(tmp_path, full):
    whole = draw(tmp_path / "other")
    full(10)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert torch.equal(draw(tmp_path / "full"), whole)
    words = [str(one.message) for one in told]
    assert [one.split(":")[0] for one in words] == [
        "chain 0 is not kept",
        "chain 1 is not kept",
        "the draws are not kept",
    ]
    assert all("cannot be written (No space left" in one and "make room" in one for one in words)
    pictures = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    with pytest.warns(UserWarning, match=r"features are not kept: .*cannot be written \(No space"):
        assert torch.equal(features_of(pictures, nn.Flatten(), cache=tmp_path / "full"), pictures.flatten(1))
    assert not [p for p in (tmp_path / "full").iterdir() if p.is_file()]


def test_a_damaged_cache_is_made_anew(tmp_path):
    pictures = torch.arange(16, dtype=torch.uint8).reshape(4, 1, 2, 2)
    features_of(pictures, nn.Flatten(), cache=tmp_path)
    (kept,) = tmp_path.iterdir()
    content = kept.read_bytes()
    for other in (content[:20], b"", content[:-1] + bytes([content[-1] ^ 1])):
        kept.write_bytes(other)
        with pytest.warns(UserWarning, match="kept features are damaged and are made anew"):
            assert torch.equal(features_of(pictures, nn.Flatten(), cache=tmp_path), pictures.flatten(1))
        assert kept.read_bytes() == content  # to the byte, in the header too
    files.write(kept, {}, {})
    with pytest.warns(UserWarning, match="holds no features"):
        assert torch.equal(features_of(pictures, nn.Flatten(), cache=tmp_path), pictures.flatten(1))
    kept.unlink()
    kept.mkdir()
    with pytest.warns(UserWarning, match=r"got a folder|cannot be written"):
        features_of(pictures, nn.Flatten(), cache=tmp_path)


def test_chains_that_are_kept_are_not_drawn_again_and_others_not_believed(tmp_path, monkeypatch):
    whole = draw(tmp_path / "whole")
    assert {p.suffixes[0] for p in (tmp_path / "whole").iterdir()} == {".checks", ".safetensors"}

    class StoppedError(Exception):
        pass

    real = reference._one_chain

    def second_stops(potential, start, settings, seed, bar):
        if seed == 2 * 1_000_003:
            raise StoppedError
        return real(potential, start, settings, seed, bar)

    monkeypatch.setattr(reference, "_one_chain", second_stops)
    with pytest.raises(StoppedError):
        draw(tmp_path / "cut")
    (left,) = (tmp_path / "cut").iterdir()
    content = left.read_bytes()

    def first_is_there(potential, start, settings, seed, bar):
        assert seed == 2 * 1_000_003
        return real(potential, start, settings, seed, bar)

    monkeypatch.setattr(reference, "_one_chain", first_is_there)
    assert torch.equal(draw(tmp_path / "cut"), whole)
    assert not left.exists()
    monkeypatch.setattr(reference, "_one_chain", real)
    for path in (tmp_path / "cut").iterdir():
        path.unlink()
    left.write_bytes(content[:100])
    with pytest.warns(UserWarning, match=r"chain0.safetensors cannot be read and is made anew"):
        assert torch.equal(draw(tmp_path / "cut"), whole)
    for path in (tmp_path / "cut").iterdir():
        path.unlink()
    left.write_bytes(content)
    tensors, told = files.read(left)
    files.write(left, {**tensors, "theta": tensors["theta"] + 1}, told)
    with pytest.warns(UserWarning, match=r"chain0.safetensors holds draws of another density"):
        assert torch.equal(draw(tmp_path / "cut"), whole)


def test_damaged_digits_are_trained_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("BAYESSGD_CACHE", str(tmp_path))
    monkeypatch.setattr("metrics.features.classifier.STEPS", 2)
    first = digits_classifier()
    (kept,) = cache_folder().iterdir()
    content = kept.read_bytes()
    for other in (content[:30], content[:-1] + bytes([content[-1] ^ 1])):
        kept.write_bytes(other)
        with pytest.warns(UserWarning, match="damaged and are trained anew"):
            assert digits_classifier().hash == first.hash


KILLED = """
import os, signal, sys, torch
from metrics import files
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
files.write(sys.argv[1], {"x": torch.ones(2)}, {})
"""


def test_a_kill_between_writing_and_renaming_leaves_nothing_for_long(tmp_path):
    path = tmp_path / "x.safetensors"
    files.write(path, {"x": torch.zeros(2)}, {})
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -9
    assert files.read(path)[0]["x"].tolist() == [0.0, 0.0]
    assert len(list(tmp_path.iterdir())) == 2
    files.write(path, {"x": torch.full((2,), 3.0)}, {})
    assert files.read(path)[0]["x"].tolist() == [3.0, 3.0]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    path = tmp_path / "x.safetensors"
    part = tmp_path / ".x.safetensors.abc.part"
    other = tmp_path / ".x.safetensors.d.part.kept"
    other.touch()
    with part.open("wb") as file:
        assert locks.lock_open_file(file)
        files.write(path, {"x": torch.zeros(2)}, {})
        assert part.exists()
    files.write(path, {"x": torch.zeros(2)}, {})
    assert not part.exists()
    assert other.exists()


RUNS = """
import sys, pathlib
sys.path.insert(0, sys.argv[2])
from tests.faults.test_disk import fit
def wait(*_):
    print("runs", flush=True)
    sys.stdin.read()
fit(pathlib.Path(sys.argv[1]), steps=3, on_step=wait, on_step_every=2)
"""


def test_a_second_run_on_one_checkpoint_is_refused_until_the_first_ends_or_dies(tmp_path):
    path = tmp_path / "run.safetensors"
    command = [sys.executable, "-c", RUNS, str(path), str(Path(__file__).resolve().parents[2])]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout.readline() == b"runs\n"
    words = rf"run.safetensors is being written by another run \(process {first.pid} on .*; name"
    with pytest.raises(ValueError, match=words):
        fit(path)
    before = path.read_bytes()
    fit(tmp_path / "another.safetensors")  # the remedy
    assert path.read_bytes() == before
    first.kill()
    first.wait()
    assert (tmp_path / ".run.safetensors.lock").exists()
    assert same(fit(path), fit(None))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["another.safetensors", "run.safetensors"]
    first.stdin.close()
    first.stdout.close()


def test_a_second_run_in_another_thread_is_refused_too(tmp_path):
    path = tmp_path / "run.safetensors"
    told: list[str] = []

    def second() -> None:
        try:
            fit(path)
        except ValueError as error:
            told.append(str(error))

    def look(*_: object) -> None:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    fit(path, steps=1, on_step=look)
    assert len(told) == 1
    assert "another run of this process; name another checkpoint" in told[0]
    fit(path, steps=2)


def test_without_locks_a_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_fcntl", lambda: None)
    assert same(fit(tmp_path / "run.safetensors"), fit(None))
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
    whole = fit(None)
    fit(tmp_path / "run.safetensors", on_step=lambda *_: True, on_step_every=2)
    os.utime(tmp_path / "run.safetensors", (0, 0))
    now = time.time()
    clock = iter(range(10**9))

    def jumping() -> float:
        return now - 3600.0 * (next(clock) % 7)

    for name in ("time", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, jumping)
    again = fit(tmp_path / "run.safetensors")
    monkeypatch.undo()
    assert same(again, whole)
