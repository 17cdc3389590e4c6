"""Damaged and hostile files: each is read right, or refused in our words; nothing is unpickled, nothing changed."""

import json
import random
import re
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch

import bayessgd
import gan
from metrics import files
from metrics.evaluation.command import main
from tests.faults.damage import anything, flips, headers, other_metadata, other_tensors, pickles
from tests.faults.readers import READERS, Reader, read_quietly

ROOT = Path(__file__).resolve().parents[2]
STRANGE = re.compile(r"Traceback|<class|struct\.|0x[0-9a-f]{6}|\bat line \d+ in\b")
MOST = 100
"""Files that are tried of those that hold something else."""
OURS = [name for name, reader in READERS.items() if reader.kind == "ours"]
SAFETENSORS = [name for name, reader in READERS.items() if reader.kind in ("ours", "safetensors")]


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def made(request, tmp_path):
    reader = READERS[request.param]
    path = tmp_path / "files" / reader.name
    path.parent.mkdir(parents=True)
    reader.make(path)
    return reader, path


def refusal(reader: Reader, path: Path, told: str) -> Exception | None:
    """Read a damaged file: None where that worked, else the refusal, which must be in our words."""
    folder = path.parents[len(Path(reader.name).parts) - 1]
    before = snapshot(folder)
    error = failure(reader, path)
    assert snapshot(folder) == before, told
    if error is None:
        return None
    words = f"{told}: {type(error).__name__}: {error}"
    assert isinstance(error, ValueError | TypeError | FileNotFoundError), words
    where = traceback.extract_tb(error.__traceback__)[-1].filename
    assert where.startswith(tuple(f"{ROOT}/{name}" for name in ("bayessgd", "gan", "metrics"))), words
    assert not STRANGE.search(str(error)), words
    assert path.name in str(error), words
    assert re.search(r"[;:,] [a-z]", str(error)), words
    return error


def failure(reader: Reader, path: Path) -> Exception | None:
    try:
        read_quietly(reader, path)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("made", READERS, indirect=True)
def test_refuses_a_file_that_was_cut_or_is_something_else(made):
    reader, path = made
    content = path.read_bytes()
    for told, other in anything(content, every=reader.kind == "json" or path.name == "x.safetensors"):
        path.write_bytes(other)
        error = refusal(reader, path, told)
        # What is cut off from a picture's last block, or behind what counts, does not always show.
        if error is None:
            assert reader.kind in ("picture", "numpy", "torch"), told
            assert told.startswith("cut"), told
            assert int(told.split()[-1]) > 0.5 * len(content), told


@pytest.mark.parametrize("made", OURS, indirect=True)
def test_refuses_one_flipped_bit_anywhere_in_a_file_of_ours(made):
    reader, path = made
    content = path.read_bytes()
    for told, other in flips(content, until=8):
        path.write_bytes(other)
        error = refusal(reader, path, told)
        # Without the word sha256 it is a file of version 0.1; the numbers are right.
        assert error is not None or b'"sha256"' not in other, told


@pytest.mark.parametrize("made", [n for n in READERS if n not in OURS], indirect=True)
def test_refuses_or_reads_a_flipped_bit_of_others(made):
    reader, path = made
    content = path.read_bytes()
    for told, other in flips(content, until=0 if reader.kind == "picture" else 80):
        path.write_bytes(other)
        refusal(reader, path, told)


@pytest.mark.parametrize("made", SAFETENSORS, indirect=True)
def test_refuses_a_hostile_header(made):
    reader, path = made
    content = path.read_bytes()
    for told, other in headers(content):
        path.write_bytes(other)
        error = refusal(reader, path, told)
        assert error is not None or reader.kind == "safetensors", told


@pytest.mark.parametrize("made", OURS, indirect=True)
def test_refuses_json_and_tensors_of_another_shape(made):
    reader, path = made
    tensors, metadata = files.read(path)
    others = list(other_metadata(metadata))
    for told, other in random.Random(0).sample(others, min(MOST, len(others))):
        files.write(path, tensors, other)
        refusal(reader, path, told)
    changed = list(other_tensors(tensors))
    for told, other in random.Random(0).sample(changed, min(MOST, len(changed))):
        files.write(path, other, metadata)
        refusal(reader, path, told)


@pytest.mark.parametrize("made", [n for n, r in READERS.items() if r.kind != "picture"], indirect=True)
def test_refuses_pickles_without_opening_them(made, tmp_path):
    reader, path = made
    for told, other in pickles(tmp_path / "marker"):
        path.write_bytes(other)
        assert refusal(reader, path, told) is not None, told
        assert not (tmp_path / "marker").exists(), told


@pytest.mark.parametrize("made", READERS, indirect=True)
def test_refuses_a_folder_in_the_place_of_a_file_and_none_at_all(made):
    reader, path = made
    path.unlink()
    if reader.kind != "picture" and reader.name != "run.safetensors":  # a picture less; a run that begins
        assert isinstance(refusal(reader, path, "missing"), FileNotFoundError | ValueError)
    path.unlink(missing_ok=True)
    path.mkdir()
    if reader.kind != "picture":
        assert refusal(reader, path, "a folder") is not None


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path):
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    torch.save({"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, tmp_path / "out.pt")
    index = folder / "model.safetensors.index.json"
    (folder / "sub.pt").mkdir()
    names = ["../out.pt", str(tmp_path / "out.pt"), "", ".", "..", "sub.pt", "none.pt", index.name]
    for name in [*names, "a/../../out.pt", "out\0.pt"]:
        index.write_text(json.dumps({"weight_map": {"weight": name}}))
        with pytest.raises(
            (ValueError, FileNotFoundError), match=r"must name shards beside it|no such file beside"
        ):
            bayessgd.from_checkpoints(torch.nn.Linear(2, 1), [index], progress=False)


def test_members_of_an_archive_that_lead_out_write_nothing(tmp_path):
    import zipfile

    path = tmp_path / "in" / "cloud.npz"
    path.parent.mkdir()
    np.savez(tmp_path / "good.npz", train=np.ones((8, 2), np.float32))
    with zipfile.ZipFile(tmp_path / "good.npz") as good, zipfile.ZipFile(path, "w") as bad:
        bad.writestr("../train.npy", good.read("train.npy"))
        bad.writestr("../../etc/x", b"no array")
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="an entry that is no array"):
        gan.data.file(path)
    assert snapshot(tmp_path) == before


def test_a_file_that_holds_itself_is_refused(tmp_path):
    content: dict[str, object] = {}
    content["state_dict"] = content
    torch.save(content, tmp_path / "step1.pt")
    with pytest.raises(ValueError, match="must hold a state dict"):
        bayessgd.from_checkpoints(torch.nn.Linear(2, 1), [tmp_path / "step1.pt"], progress=False)


def test_the_command_tells_of_a_damaged_source_in_one_line(tmp_path, capsys):
    real, fake = tmp_path / "real.npy", tmp_path / "fake.npy"
    for path in (real, fake):
        np.save(path, np.random.default_rng(0).normal(size=(20, 2)))
    content = fake.read_bytes()
    for told, other in [*anything(content), *pickles(tmp_path / "marker")]:
        fake.write_bytes(other)
        assert main([str(real), str(fake), "--measures", "energy_distance"]) == 2, told
        said = capsys.readouterr().err
        assert re.fullmatch(r"metrics: error: .*fake\.npy.*\n", said), said
    assert not (tmp_path / "marker").exists()


def test_what_one_version_wrote_without_a_checksum_is_read(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.ones(2)}, tmp_path / "old", metadata={"json": '{"step": 3}'})
    tensors, metadata = files.read(tmp_path / "old")
    assert metadata == {"step": 3}
    assert tensors["x"].tolist() == [1.0, 1.0]
