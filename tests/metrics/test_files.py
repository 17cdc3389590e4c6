"""Files are whole or absent, and come back bit for bit."""

import pytest
import torch

from metrics import files


def test_round_trip_keeps_bits_types_and_metadata(tmp_path, dtype):
    tensors = {"a": torch.randn(3, 2, dtype=dtype), "state": torch.arange(5, dtype=torch.uint8)}
    files.write(tmp_path / "new" / "x.safetensors", tensors, {"step": 3, "name": "é"})
    back, metadata = files.read(tmp_path / "new" / "x.safetensors")
    assert metadata == {"step": 3, "name": "é"}
    assert all(torch.equal(back[k], tensors[k]) and back[k].dtype == tensors[k].dtype for k in tensors)


def test_shared_memory_is_written_as_copies(tmp_path):
    base = torch.arange(4.0)
    files.write(tmp_path / "x", {"a": base, "b": base[1:], "c": base[:1].expand(3)}, {})
    assert files.read(tmp_path / "x")[0]["b"].tolist() == [1.0, 2.0, 3.0]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "x"
    files.write(path, {"a": torch.zeros(1)}, {})
    with pytest.raises(ValueError, match="JSON"):
        files.write(path, {"a": torch.ones(1)}, {"bad": float("nan")})
    assert files.read(path)[0]["a"].item() == 0.0
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("content", [b"", b"pickle", b"\x80\x04K\x01."])
def test_refuses_what_it_did_not_write(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match="not a safetensors file"):
        files.read(tmp_path / "x")


def test_refuses_a_truncated_file_and_a_missing_one(tmp_path):
    path = tmp_path / "x"
    files.write(path, {"a": torch.zeros(100)}, {})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="not a safetensors file"):
        files.read(path)
    with pytest.raises(FileNotFoundError, match="no file at"):
        files.read(tmp_path / "y")
