import collections
import json
import re
from functools import partial

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bayessgd import SWAG, IterateAverage, Trajectory, from_checkpoints
from tests.bayessgd.collectors.runs import network, walk
from tests.bayessgd.collectors.test_collector import same

STEPS = (2, 10, 100, 9000)
"""In the order of their names they would be 10, 100, 2, 9000."""


def states():
    net = network(torch.float32)
    return net, [{k: t.clone() for k, t in net.state_dict().items()} for _ in walk(net, steps=len(STEPS))]


def prefixed(state, prefix):
    return {prefix + k: t for k, t in state.items()} | {"loss.weight": torch.ones(3)}


def write_sharded(state, folder):
    folder.mkdir()
    names = list(state)
    for i, part in enumerate((names[:2], names[2:])):
        save_file({k: state[k] for k in part}, folder / f"model-{i}.safetensors")
    index = {k: f"model-{0 if k in names[:2] else 1}.safetensors" for k in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def write_folder(state, folder):
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    torch.save({"lr": 0.1}, folder / "optimizer.pt")


KINDS = {
    "safetensors": (lambda s, f, i: save_file(s, f / f"model-step{i}.safetensors"), None),
    "torch": (lambda s, f, i: torch.save(s, f / f"net_{i}.pt"), None),
    "training": (lambda s, f, i: torch.save({"model_state_dict": s, "epoch": 3}, f / f"epoch{i}.pth"), None),
    "lightning": (
        lambda s, f, i: torch.save(
            {"state_dict": prefixed(s, "net."), "global_step": i}, f / f"epoch=1-step={i}.ckpt"
        ),
        "net.",
    ),
    "compiled-ddp": (
        lambda s, f, i: torch.save({f"module._orig_mod.{k}": t for k, t in s.items()}, f / f"ckpt_{i}.pt"),
        None,
    ),
    "hugging-face": (lambda s, f, i: write_folder(s, f / f"checkpoint-{i}"), None),
    "hugging-face-sharded": (lambda s, f, i: write_sharded(s, f / f"checkpoint-{i}"), None),
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("maker", [SWAG, IterateAverage, Trajectory, partial(SWAG, rank=0)])
def test_checkpoints_are_updates_in_the_order_of_their_steps(kind, maker, tmp_path):
    net, saved = states()
    write, prefix = KINDS[kind]
    told = maker(net)
    for step, state in zip(STEPS, saved, strict=True):
        write(state, tmp_path, step)
        told.update(state)
    before = {k: t.clone() for k, t in net.state_dict().items()}
    found = from_checkpoints(net, tmp_path, collector=maker, prefix=prefix, progress=False)
    assert same(found, told.posterior())
    assert all(torch.equal(t, before[k]) for k, t in net.state_dict().items())
    paths = sorted(tmp_path.iterdir())  # as a pattern gives them
    assert same(from_checkpoints(net, paths, collector=maker(net), prefix=prefix, progress=False), found)


def test_a_list_that_tells_no_steps_stays_in_its_order(tmp_path):
    net, saved = states()
    for name, state in zip(("b", "a"), saved[:2], strict=True):
        torch.save(state, tmp_path / f"{name}.pt")
    found = from_checkpoints(
        net, [tmp_path / "b.pt", tmp_path / "a.pt"], collector=Trajectory, progress=False
    )
    assert torch.equal(found.draws["0.bias"][0], saved[0]["0.bias"])


def test_the_weights_of_one_folder_are_one_checkpoint(tmp_path):
    net, saved = states()
    write_folder(saved[0], tmp_path / "final")
    found = from_checkpoints(net, tmp_path / "final", collector=IterateAverage, progress=False)
    assert torch.equal(found.mean["0.bias"], saved[0]["0.bias"])


def test_a_part_of_the_network(tmp_path):
    net, saved = states()
    for step, state in zip(STEPS, saved, strict=True):
        torch.save(state, tmp_path / f"{step}.pt")
    part = from_checkpoints(net, tmp_path, collector=lambda m: SWAG(m, parameters="2"), progress=False)
    whole = from_checkpoints(net, tmp_path, progress=False)
    assert list(part.mean) == ["2.weight", "2.bias"]
    assert torch.equal(part.mean["2.weight"], whole.mean["2.weight"])


class Loud:
    """What unpickling would run."""

    def __reduce__(self):
        return (pytest.fail, ("a file was unpickled",))


def test_nothing_is_unpickled_and_the_remedies_are_right(tmp_path):
    net, saved = states()
    torch.save({"state_dict": saved[0], "hyper_parameters": Loud()}, tmp_path / "step1.ckpt")
    with pytest.raises(
        ValueError,
        match=r"step1.ckpt must be .* tensors and plain numbers alone.*write its state dict anew as safetensors",
    ):
        from_checkpoints(net, tmp_path, progress=False)
    save_file(saved[0], tmp_path / "again.safetensors")
    average = IterateAverage(net)
    average.update(saved[0])
    found = from_checkpoints(net, [tmp_path / "again.safetensors"], collector=IterateAverage, progress=False)
    assert same(found, average.posterior())


def test_a_missing_prefix_is_named_and_passing_it_is_right(tmp_path):
    net, saved = states()
    torch.save({"state_dict": prefixed(saved[0], "body.")}, tmp_path / "step=1.ckpt")
    with pytest.raises(ValueError, match=r"step=1.ckpt: state must .*from_checkpoints\(prefix='body\.'\)"):
        from_checkpoints(net, tmp_path, collector=IterateAverage, progress=False)
    found = from_checkpoints(net, tmp_path, collector=IterateAverage, prefix="body.", progress=False)
    assert same(
        from_checkpoints(net, tmp_path, collector=IterateAverage, prefix="body", progress=False), found
    )
    with pytest.raises(ValueError, match=r"prefix must begin some names, got 'head.'"):
        from_checkpoints(net, tmp_path, collector=IterateAverage, prefix="head.", progress=False)


def test_a_folder_that_does_not_tell_is_refused_and_a_list_is_right(tmp_path):
    net, saved = states()
    for name, state in zip(("step=10", "step=20", "last"), (saved[0], saved[1], saved[1]), strict=True):
        torch.save(state, tmp_path / f"{name}.ckpt")
    with pytest.raises(ValueError, match=r"but last.ckpt tells no step; pass a list of those that you mean"):
        from_checkpoints(net, tmp_path, progress=False)
    list_of = [tmp_path / "step=10.ckpt", tmp_path / "step=20.ckpt"]
    assert len(from_checkpoints(net, list_of, collector=Trajectory, progress=False)) == 2
    torch.save(saved[1], tmp_path / "step=20-v1.ckpt")
    (tmp_path / "last.ckpt").unlink()
    with pytest.raises(ValueError, match=r"step=20.ckpt has the step of step=20-v1.ckpt"):
        from_checkpoints(net, tmp_path, progress=False)


def bad(path, content):
    torch.save(content, path)


@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (lambda f: None, FileNotFoundError, "no checkpoints in .*must hold checkpoint-"),
        (lambda f: (f / "step1.pt").write_bytes(b"no"), ValueError, "step1.pt must "),
        (
            lambda f: (f / "step1.safetensors").write_bytes(b"no"),
            ValueError,
            "must be a whole safetensors file",
        ),
        (lambda f: bad(f / "step1.pt", {"epoch": 3}), ValueError, r"must hold a state dict.*got \['epoch'\]"),
        (lambda f: bad(f / "step1.pt", [torch.ones(1)]), ValueError, "must hold a state dict.*got list"),
        (
            lambda f: bad(f / "step1.pt", {"0.weight": torch.full((3, 2), torch.nan)}),
            ValueError,
            "step1.pt: state must have the names of the collector's network; missing",
        ),
        (
            lambda f: (f / "checkpoint-3").mkdir(),
            FileNotFoundError,
            "no weights in .*checkpoint-3; a checkpoint's",
        ),
    ],
)
def test_refusals_of_folders(write, error, message, tmp_path):
    write(tmp_path)
    with pytest.raises(error, match=message):
        from_checkpoints(network(torch.float32), tmp_path, progress=False)


def test_an_index_may_not_lead_out_of_its_folder(tmp_path):
    _, saved = states()
    save_file(saved[0], tmp_path / "out.safetensors")
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"0.weight": "../out.safetensors"}}))
    with pytest.raises(ValueError, match="must name shards beside it"):
        from_checkpoints(network(torch.float32), tmp_path, progress=False)
    index.write_text("{}")
    with pytest.raises(ValueError, match="must be an index of shards with a weight_map"):
        from_checkpoints(network(torch.float32), tmp_path, progress=False)


def test_refusals_of_arguments(tmp_path):
    net, saved = states()
    torch.save(saved[0], tmp_path / "step1.pt")
    one = [tmp_path / "step1.pt"]
    with pytest.raises(TypeError, match="paths must be a folder or a list of checkpoints, got int"):
        from_checkpoints(net, 3)
    with pytest.raises(ValueError, match="paths must not be empty"):
        from_checkpoints(net, [])
    with pytest.raises(ValueError, match=re.escape("more than once; each is one iterate")):
        from_checkpoints(net, one * 2)
    with pytest.raises(FileNotFoundError, match="check the path"):
        from_checkpoints(net, tmp_path / "nowhere")
    with pytest.raises(TypeError, match=r"collector must be SWAG, IterateAverage or Trajectory.*got int"):
        from_checkpoints(net, one, collector=3)
    with pytest.raises(TypeError, match="got OrderedDict"):
        from_checkpoints(net, one, collector=lambda m: collections.OrderedDict())
    with pytest.raises(ValueError, match=r"needs at least 2 updates, got 1; .*or pass more checkpoints"):
        from_checkpoints(net, one, progress=False)
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module"):
        from_checkpoints(3, one)
    assert isinstance(net, nn.Module)
