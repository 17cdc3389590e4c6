"""What every collector must do: one row per kind, and each row inherits every test."""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bayessgd.collectors import SWAG, IterateAverage, Trajectory
from bayessgd.posteriors import Ensemble
from tests.bayessgd.collectors.runs import network, train

KINDS = {
    "swag": lambda net, _: SWAG(net, rank=3),
    "swag-diagonal": lambda net, _: SWAG(net, rank=0),
    "swag-bfloat16": lambda net, _: SWAG(net, rank=3, columns_dtype=torch.bfloat16, columns_device="cpu"),
    "swag-float64": lambda net, _: SWAG(net, rank=3, moments_dtype=torch.float64),
    "polyak": lambda net, _: IterateAverage(net),
    "exponential": lambda net, _: IterateAverage(net, decay=0.9),
    "windows": lambda net, _: IterateAverage(net, window=3),
    "trajectory": lambda net, _: Trajectory(net),
    "trajectory-file": lambda net, folder: Trajectory(net, path=folder / "iterates"),
}


@pytest.fixture(params=list(KINDS))
def make(request, tmp_path):
    """A maker of collectors, each with a folder of its own."""

    def one(net, folder="a"):
        return KINDS[request.param](net, tmp_path / folder)

    return one


def same(a, b) -> bool:
    """Two posteriors with the same bits."""
    if isinstance(a, Ensemble):
        return all(torch.equal(a.draws[name], b.draws[name]) for name in a.draws)
    rows = [p.deviations or {} for p in (a, b)]
    return (
        all(torch.equal(a.mean[name], b.mean[name]) for name in a.mean)
        and all(torch.equal(a.variance[name], b.variance[name]) for name in a.mean)
        and all(torch.equal(rows[0][name], rows[1][name]) for name in rows[0])
        and a.scale == b.scale
    )


def sgd(net):
    return torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)


def test_training_goes_the_same_way_with_it_and_without_it(make, dtype):
    plain, watched = network(dtype), network(dtype)
    without = train(plain, sgd(plain), steps=20)
    optimizer = sgd(watched)
    before = torch.random.get_rng_state()
    with make(watched).attach(optimizer, every=2):
        with_it = train(watched, optimizer, steps=20)
    assert all(torch.equal(a, b) for a, b in zip(without, with_it, strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(p.requires_grad for p in watched.parameters())


def test_attaching_is_updating_by_hand(make):
    net, other = network(), network()
    attached, told = make(net), make(other, "b")
    optimizer = sgd(net)
    handle = attached.attach(optimizer, every=3, start=2)
    train(net, optimizer, steps=20)
    handle.remove()
    train(net, optimizer, steps=5)
    optimizer = sgd(other)
    random = iter(range(1, 21))
    optimizer.register_step_post_hook(
        lambda *_: told.update() if (i := next(random)) > 2 and (i - 2) % 3 == 0 else None
    )
    train(other, optimizer, steps=20)
    assert attached.num_updates == told.num_updates == 6
    assert same(attached.posterior(), told.posterior())


@pytest.mark.parametrize("stop", [0, 5, 7])
def test_it_resumes_to_the_same_result(make, stop, tmp_path):
    # In the middle of an interval of `every`, of a window, and before the first update (stop = 0).
    net = network()
    optimizer, whole = sgd(net), make(net)
    with whole.attach(optimizer, every=2):
        train(net, optimizer, steps=stop, seed=3)
        checkpoint = tmp_path / "checkpoint.pt"
        parts = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "swag": whole.state_dict()}
        torch.save(parts, checkpoint)
        if getattr(whole, "path", None) is not None and whole.path.exists():
            (tmp_path / "b").mkdir()
            shutil.copy(whole.path, tmp_path / "b")
        train(net, optimizer, steps=18, seed=4)

    loaded = torch.load(checkpoint, weights_only=True)
    again = network(seed=5)
    again.load_state_dict(loaded["net"])
    optimizer = sgd(again)
    optimizer.load_state_dict(loaded["optimizer"])
    resumed = make(again, "b")
    resumed.load_state_dict(loaded["swag"])
    with resumed.attach(optimizer, every=2):
        train(again, optimizer, steps=18, seed=4)
    assert resumed.num_updates == whole.num_updates
    assert same(resumed.posterior(), whole.posterior())


def test_a_loaded_state_is_a_copy(make, tmp_path):
    net = network()
    optimizer, first = sgd(net), make(net)
    with first.attach(optimizer):
        train(net, optimizer, steps=6)
        other = copy.deepcopy(net)
        second = make(other, "b")
        if getattr(first, "path", None) is not None:
            (tmp_path / "b").mkdir()
            shutil.copy(first.path, tmp_path / "b")
        second.load_state_dict(first.state_dict())
        before = second.posterior()
        train(net, optimizer, steps=6)
    assert same(second.posterior(), before)


@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_a_scaler_skips_are_no_iterates(make, fused):
    # GradScaler looks for infinite gradients and then leaves the step out; it runs on the CPU too. A fused
    # optimizer is called all the same, and learns from `found_inf` that it must not move.
    net = network(torch.float32)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, fused=fused)
    collector = make(net)
    collector.attach(optimizer)
    scaler, called = torch.amp.GradScaler("cpu", init_scale=4.0), []
    optimizer.register_step_post_hook(lambda *_: called.append(1))
    for i in range(12):
        optimizer.zero_grad()
        loss = net(torch.ones(4, 2)).square().mean()
        scaler.scale(loss).backward()
        if i % 3 == 0:
            net[0].bias.grad[0] = float("inf")
        scaler.step(optimizer)
        scaler.update()
    assert len(called) == (12 if fused else 8)
    assert collector.num_updates == 8


def test_a_compiled_model_is_the_same_model(make):
    # The hook sits on the optimizer, so what runs the forward pass does not matter; this backend traces forward
    # and backward as the default one does, but needs no C++ compiler.
    net, other = network(), network()
    compiled = torch.compile(net, backend="aot_eager")
    plain, through = make(other, "b"), make(compiled)
    for model, collector in ((compiled, through), (other, plain)):
        optimizer = sgd(model)
        with collector.attach(optimizer):
            train(model, optimizer, steps=6)
    assert same(plain.posterior(), through.posterior())
    assert list(through.posterior().mean) == [name for name, _ in net.named_parameters()]


@pytest.fixture
def process_group(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_under_ddp_it_is_the_same(make, process_group):
    net, other = network(), network()
    wrapped = DistributedDataParallel(net)
    plain, through = make(other, "b"), make(wrapped)
    for model, collector in ((wrapped, through), (other, plain)):
        optimizer = sgd(model)
        with collector.attach(optimizer):
            train(model, optimizer, steps=6)
    assert same(plain.posterior(), through.posterior())


@pytest.mark.slow
def test_two_processes_with_sharded_parameters_collect_what_one_does(tmp_path):
    script = Path(__file__).with_name("sharded.py")
    root = Path(__file__).parents[3]
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path)]
    processes = [
        subprocess.Popen([*command, str(rank)], env=env, stderr=subprocess.PIPE, text=True) for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda c, net: c.attach(net),
            TypeError,
            "optimizer must be a torch.optim.Optimizer, got Sequential",
        ),
        (lambda c, net: c.attach(sgd(net), every=0), ValueError, "every must be at least 1"),
        (lambda c, net: c.attach(sgd(net), start=-1), ValueError, "start must be at least 0"),
        (
            lambda c, net: c.attach(sgd(network())),
            ValueError,
            "must train the model's parameters, got one that",
        ),
        (lambda c, net: c.posterior(), ValueError, "updates, got 0; train on with attach"),
        (
            lambda c, net: c.load_state_dict(SWAG(net, rank=7).state_dict()),
            ValueError,
            "state must have the (kind|settings)",
        ),
        (
            lambda c, net: c.load_state_dict({**c.state_dict(), "shapes": {"0.weight": [2, 2]}}),
            ValueError,
            "state must have the shapes .*make the collector as it was",
        ),
    ],
)
def test_refusals(make, call, error, message):
    net = network()
    with pytest.raises(error, match=message):
        call(make(net), net)


def test_refusal_of_a_file_under_sharding_and_of_lazy_parameters():
    with pytest.raises(ValueError, match="is lazy; run one batch through it first"):
        SWAG(nn.Sequential(nn.LazyLinear(2)))
