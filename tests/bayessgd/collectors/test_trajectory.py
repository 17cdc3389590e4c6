import pytest
import torch
from torch import nn

from bayessgd.collectors import Trajectory
from bayessgd.params import flatten
from tests.bayessgd.collectors.runs import flat, network, walk


@pytest.fixture(params=["memory", "file"])
def path(request, tmp_path):
    return None if request.param == "memory" else tmp_path / "deep" / "deeper" / "iterates.bin"


def collected(trajectory, net, steps, seed=1):
    kept = []
    for _ in walk(net, steps=steps, seed=seed):
        trajectory.update()
        kept.append(flat(net))
    return torch.stack(kept)


def rows(posterior):
    return flatten(posterior.draws, posterior.mean).double()


@pytest.mark.parametrize(("skip", "thin"), [(0, 1), (3, 1), (2, 4)])
def test_the_draws_are_the_iterates(path, dtype, skip, thin):
    net = network(dtype)
    trajectory = Trajectory(net, path=path)
    iterates = collected(trajectory, net, 11)
    posterior = trajectory.posterior(skip=skip, thin=thin)
    assert torch.equal(rows(posterior), iterates[skip::thin])
    assert posterior.draws["0.weight"].dtype == dtype


def test_the_collecting_goes_on_after_a_posterior(path):
    net = network()
    trajectory = Trajectory(net, path=path)
    first = collected(trajectory, net, 3)
    before = trajectory.posterior()
    second = collected(trajectory, net, 2, seed=4)
    assert torch.equal(rows(before), first)
    assert torch.equal(rows(trajectory.posterior()), torch.cat([first, second]))


def test_a_file_holds_the_flat_rows_and_nothing_else(tmp_path):
    net = network(torch.float32)
    trajectory = Trajectory(net, path=tmp_path / "rows")
    iterates = collected(trajectory, net, 4)
    raw = torch.frombuffer(bytearray((tmp_path / "rows").read_bytes()), dtype=torch.float32)
    assert torch.equal(raw.reshape(4, 13).double(), iterates)


def test_the_draws_of_a_file_are_not_loaded_and_cannot_change_it(tmp_path):
    net = network()
    trajectory = Trajectory(net, path=tmp_path / "rows")
    iterates = collected(trajectory, net, 4)
    posterior = trajectory.posterior()
    bases = {t.untyped_storage().data_ptr() for t in posterior.draws.values()}
    assert len(bases) == 1  # views of one mapping
    posterior.draws["0.weight"].zero_()
    assert torch.equal(rows(trajectory.posterior()), iterates)


def test_going_on_writes_over_what_was_written_after_the_state(tmp_path):
    net = network()
    trajectory = Trajectory(net, path=tmp_path / "rows")
    first = collected(trajectory, net, 3)
    state = trajectory.state_dict()
    collected(trajectory, net, 2, seed=7)  # a run that then stopped
    with (tmp_path / "rows").open("ab") as file:
        file.write(b"half a row")
    again = Trajectory(net, path=tmp_path / "rows")
    again.load_state_dict(state)
    second = collected(again, net, 2, seed=8)
    assert torch.equal(rows(again.posterior()), torch.cat([first, second]))


def test_parameters_of_several_types_share_a_file_in_the_widest(tmp_path):
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False).double())
    trajectory = Trajectory(net, path=tmp_path / "rows")
    net[1].weight.data.fill_(1 / 3)
    trajectory.update()
    assert trajectory.posterior().draws["1.weight"].item() == 1 / 3


def after(updates, path=None):
    trajectory = Trajectory(network(), path=path)
    for _ in range(updates):
        trajectory.update()
    return trajectory


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: after(0).posterior(), ValueError, "at least 1 updates, got 0"),
        (lambda p: after(3).posterior(skip=3), ValueError, "skip=3 needs at least 4 updates, got 3"),
        (lambda p: after(3).posterior(skip=-1), ValueError, "skip must be at least 0"),
        (lambda p: after(3).posterior(thin=0), ValueError, "thin must be at least 1"),
        (lambda p: Trajectory(nn.ReLU()), ValueError, "trainable parameters, got none"),
        (lambda p: Trajectory(network(), path=p, storage_device="cpu"), ValueError, "must not both be given"),
        (lambda p: (after(1, p), after(1, p)), FileExistsError, "path must be a new file"),
        (
            lambda p: Trajectory(network(), path=p / "none").load_state_dict(after(2, p).state_dict()),
            ValueError,
            "must hold the state's 2 iterates, 208 bytes, got 0",
        ),
        (
            lambda p: Trajectory(network()).load_state_dict(after(2, p).state_dict()),
            ValueError,
            "state must have the settings",
        ),
    ],
)
def test_refusals(call, error, message, tmp_path):
    with pytest.raises(error, match=message):
        call(tmp_path / "rows")


def test_buffers_are_those_of_their_iterate(path):
    """BatchNorm writes into its statistics, which the next iterate must not do to the one before."""
    net = nn.BatchNorm1d(2)
    trajectory, seen = Trajectory(net, path=path), []
    for step in range(3):
        net(torch.full((4, 2), float(step)) + torch.arange(4.0)[:, None])
        trajectory.update()
        seen.append(net.running_mean.clone())
    assert torch.equal(trajectory.posterior().buffers["running_mean"], torch.stack(seen))


def test_a_state_that_was_loaded_is_the_users_own():
    net = network()
    before, after = Trajectory(net), Trajectory(net)
    truth = collected(before, net, 3)
    state = before.state_dict()
    after.load_state_dict(state)
    for tensor in state["tensors"].values():
        tensor.zero_()
    assert torch.equal(rows(after.posterior()), truth)
