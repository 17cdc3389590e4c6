"""The script that peers run: its networks, its loss, its data, and what it hands back. No peer is needed."""

from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn


@pytest.fixture(scope="module")
def bench():
    return SimpleNamespace(**{name: import_module(name) for name in ("networks_models", "networks_peers")})


def task(bench, name, *, n=12, **changes):
    torch.manual_seed(0)
    model = bench.networks_models.MODELS[name]
    x, inputs = torch.randn(n, 10), {"test_x": torch.randn(7, 10), "other": torch.randn(3, 10)}
    rest = {
        "batch": 5,
        "lr": 0.01,
        "seed": 0,
        "samples": 4,
        "dropout": 0.5,
        "ivon_lr": 0.1,
        "ivon_beta2": 0.9,
    }
    rest |= {"model": model, "x": x, "y": torch.randn(n, 1), "inputs": inputs, "precision": 3.0, "passes": 2}
    rest |= {"snapshots": 2}
    return bench.networks_peers.Task(**(rest | changes))


@pytest.mark.parametrize(
    ("name", "size", "shape", "outputs"),
    [("digits", 309, (20,), 9), ("diabetes", 122, (10,), 2), ("lenet", 61706, (1, 28, 28), 10)],
)
def test_networks_have_the_stated_sizes(bench, name, size, shape, outputs):
    model = bench.networks_models.MODELS[name]
    for p in (0.0, 0.5):
        network = model.make(p)
        assert sum(w.numel() for w in network.parameters()) == size
        assert network(torch.randn(2, *shape)).shape == (2, outputs)
        assert any(isinstance(part, nn.Dropout) for part in network.modules()) == bool(p)


def test_loss_of_a_regression_is_the_gaussian_one(bench):
    made = task(bench, "diabetes")
    mean, log_scale, y = torch.randn(6, 1), torch.randn(6, 1), torch.randn(6, 1)
    exact = -torch.distributions.Normal(mean, log_scale.exp()).log_prob(y).mean()
    found = made.loss(torch.cat([mean, log_scale], 1), y) + 0.5 * np.log(2 * np.pi)
    torch.testing.assert_close(found, exact)


def test_sgd_goes_to_the_mode_of_the_posterior_with_the_given_prior(bench):
    network = nn.Linear(10, 1, bias=False)
    made = task(bench, "diabetes", n=200, batch=200, lr=0.3)
    object.__setattr__(made, "model", SimpleNamespace(regression=True))
    unit = nn.Module()
    unit.forward = lambda x: torch.cat([network(x), torch.zeros(len(x), 1)], 1)
    unit.parameters = network.parameters
    bench.networks_peers.sgd(made, unit, 200, anneal=True)
    ridge = torch.linalg.solve(made.x.T @ made.x + 3.0 * torch.eye(10), made.x.T @ made.y)
    torch.testing.assert_close(network.weight.detach().T, ridge, rtol=1e-4, atol=1e-5)


def test_every_input_is_answered_with_means_and_variances(bench, monkeypatch):
    peers = bench.networks_peers

    def three(made):
        bank = [made.model.make(0.0) for _ in range(3)]
        return peers.Trained(lambda x: torch.stack([member(x) for member in bank]), None, 2.0, "none 1.0")

    monkeypatch.setitem(peers.PEERS, "none", three)
    monkeypatch.setattr(peers, "ROWS", 2)
    found = peers.answer(task(bench, "diabetes"), "none")
    assert found["test_x_mean"].shape == found["test_x_variance"].shape == (3, 7)
    assert found["other_mean"].shape == (3, 3)
    np.testing.assert_allclose(found["test_x_variance"], 0.49, rtol=1e-6)
    assert float(found["passes"]) == 2
    assert str(found["peer"]) == "none 1.0"


def test_arguments_and_data(bench, tmp_path):
    peers = bench.networks_peers
    given = peers.arguments().parse_args(
        ["swag", "--data", "a.npz", "--out", "b.npz", "--model", "lenet", "--passes", "3", "--lr", ".1"]
    )
    assert (given.peer, given.snapshots, given.dropout) == ("swag", 20, 0.5)
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 10)))
    with pytest.raises(ValueError, match="lacks \\['y'\\]"):
        peers.read(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 10)), y=np.zeros(2, int))
    found = peers.read(tmp_path / "a.npz")
    assert found["x"].dtype == torch.float32
    assert found["y"].dtype == torch.int64
