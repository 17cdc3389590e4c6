import json

import pytest
import torch
from safetensors.torch import save_file

from bayessgd.posteriors import Ensemble, LowRankGaussian, Mixture, load
from bayessgd.posteriors import files as files_of_posteriors
from metrics import files


def gaussian(dtype=torch.float32, rank=2, stored=None, scale=0.5):
    random = torch.Generator().manual_seed(rank)
    shapes = {"0.weight": (2, 3), "0.bias": (2,), "s": ()}

    def draw(*lead):
        return {k: torch.randn((*lead, *s), generator=random, dtype=dtype) for k, s in shapes.items()}

    rows = {k: t.to(stored or dtype) for k, t in draw(rank).items()} if rank else None
    return LowRankGaussian(draw(), {k: t.square() for k, t in draw().items()}, rows, scale=scale)


def ensemble(dtype=torch.float32):
    return Ensemble(gaussian(dtype).sample(4, generator=torch.Generator().manual_seed(0)))


EVERY = {
    "low rank": gaussian,
    "float64": lambda: gaussian(torch.float64, scale=1 / 3),
    "bfloat16 columns": lambda: gaussian(stored=torch.bfloat16),
    "diagonal": lambda: gaussian(rank=0),
    "ensemble": ensemble,
    "mixture": lambda: Mixture([gaussian(), gaussian(rank=3)], [0.1, 0.7]),
    "nested": lambda: Mixture([Mixture([ensemble(), gaussian()]), ensemble()], [0.1, 0.2]),
}


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY.keys())
def test_what_is_loaded_is_what_was_saved(make, tmp_path):
    law = make()
    law.save(tmp_path / "deep" / "posterior")
    again = load(tmp_path / "deep" / "posterior", device="cpu")
    assert type(again) is type(law)
    packed, repacked = law.pack(), again.pack()
    assert packed.rest == repacked.rest
    assert list(packed.tensors) == list(repacked.tensors)
    for name, tensor in packed.tensors.items():
        assert torch.equal(repacked.tensors[name], tensor)
        assert repacked.tensors[name].dtype == tensor.dtype
    a, b = (p.sample(7, generator=torch.Generator().manual_seed(1)) for p in (law, again))
    assert list(a) == list(b)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_file_from_before_chains_were_kept_has_one(tmp_path):
    packed = ensemble().pack()
    rest = {key: value for key, value in packed.rest.items() if key != "chains"}
    assert files_of_posteriors.KINDS["ensemble"](packed.tensors, rest).chains == 1


def test_saving_leaves_one_whole_file_and_replaces_the_old(tmp_path):
    path = tmp_path / "posterior"
    gaussian(rank=0).save(path)
    ensemble().save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["posterior"]
    assert isinstance(load(path), Ensemble)


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "posterior"
    ensemble().save(path)
    before = path.read_bytes()

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        gaussian().save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["posterior"]


def header(path, **changes):
    """An ensemble's file with another header."""
    tensors, metadata = files.read(path)
    files.write(path, tensors, {**metadata, **changes})


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (lambda p: p.unlink(), FileNotFoundError, "no file at"),
        (cut, ValueError, "is not a safetensors file"),
        (lambda p: p.write_bytes(b""), ValueError, "is not a safetensors file"),
        (lambda p: p.write_text(json.dumps({"a": 1})), ValueError, "is not a safetensors file"),
        (lambda p: save_file({"x": torch.ones(1)}, p), ValueError, "with a JSON header"),
        (lambda p: files.write(p, {"x": torch.ones(1)}, {}), ValueError, "'bayessgd posterior 1', got None"),
        (lambda p: header(p, format="bayessgd posterior 9"), ValueError, "got 'bayessgd posterior 9'"),
        (lambda p: header(p, kind="wavelet"), ValueError, "of unknown kind 'wavelet', known are"),
        (lambda p: header(p, rest={"names": ["w"]}), ValueError, "lacks 'draws/w'; it is corrupt"),
        (lambda p: header(p, rest=None), ValueError, "it is corrupt"),
    ],
)
def test_refusals(harm, error, message, tmp_path):
    path = tmp_path / "posterior"
    ensemble().save(path)
    harm(path)
    with pytest.raises(error, match=message):
        load(path)
