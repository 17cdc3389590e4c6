import pytest
import torch
from torch import nn

from metrics.evaluation.evaluate import evaluate
from metrics.evaluation.report import Comparison
from metrics.features.layers import LayerFeatures


def network(seed=0):
    """A small convolutional classifier of 6 × 6 images, in training mode with one frozen layer."""
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.Sequential(nn.ReLU(), nn.Dropout(0.5)),
            nn.Flatten(),
            nn.Linear(64, 3),
        )
        net[1].running_mean.uniform_()
        net[1].running_var.uniform_(1, 2)
    net[1].eval()
    return net


SHAPE = (1, 6, 6)


@pytest.fixture
def images(gen):
    return torch.randn(10, 36, generator=gen)


def test_equal_the_layers_written_out(images, dtype):
    net = network()
    x = images.to(dtype)
    for layer, parts in (("0", net[:1]), ("2.0", [net[0], net[1], net[2][0]]), ("4", net)):
        got = LayerFeatures(net, layer, shape=SHAPE)(x)
        want = images.reshape(-1, *SHAPE)
        for part in parts:
            was = part.training
            want = part.eval()(want)
            part.train(was)
        assert got.dtype == dtype
        assert torch.allclose(got, want.flatten(1).to(dtype), rtol=1e-5, atol=1e-6)


def test_averages_over_positions(images):
    net = network()
    flat = LayerFeatures(net, "2", shape=SHAPE)(images)
    averaged = LayerFeatures(net, "2", shape=SHAPE, average=True)(images)
    assert averaged.shape == (10, 4)
    assert torch.allclose(averaged, flat.reshape(10, 4, 16).mean(2), rtol=1e-5)
    assert torch.equal(
        LayerFeatures(net, "4", shape=SHAPE, average=True)(images),
        LayerFeatures(net, "4", shape=SHAPE)(images),
    )


def test_batches_change_nothing_and_bound_what_is_held(images):
    net, seen = network(), []
    net.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    whole = LayerFeatures(net, "2", shape=SHAPE)(images)
    parts = LayerFeatures(net, "2", shape=SHAPE, batch=4)(images)
    assert torch.allclose(whole, parts, rtol=1e-5, atol=1e-6)
    assert seen == [10, 4, 4, 2]


def test_stops_at_the_layer_and_leaves_the_network_as_it_was(images):
    net = network()
    net[4].register_forward_hook(lambda *_: pytest.fail("ran on"))
    before = {name: t.clone() for name, t in net.state_dict().items()}
    flags = [part.training for part in net.modules()]
    out = LayerFeatures(net, "3", shape=SHAPE)(images.requires_grad_())
    assert not out.requires_grad
    assert [part.training for part in net.modules()] == flags
    assert not net[1].training
    assert net[2].training
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert not net[3]._forward_hooks


def test_a_failing_network_is_left_as_it_was_too(images):
    net = network()
    with pytest.raises(RuntimeError, match="shape"):
        LayerFeatures(net, "4", shape=(1, 4, 9))(images)
    assert net.training
    assert not net[4]._forward_hooks


def test_names_and_hashes_tell_features_apart():
    net, twin, other = network(), network(), network(seed=1)
    assert LayerFeatures(net, "2").hash == LayerFeatures(twin, "2").hash != LayerFeatures(other, "2").hash
    names = {LayerFeatures(net, layer, average=a).name for layer in ("0", "2.0") for a in (False, True)}
    assert len(names) == 4
    assert "Sequential up to 2.0, flat" in names
    twin[2][0] = nn.Tanh()  # the same weights
    assert LayerFeatures(net, "2").hash != LayerFeatures(twin, "2").hash
    with torch.no_grad():
        net[0].weight[0, 0, 0, 0] += 1e-6
    assert LayerFeatures(net, "2").hash != LayerFeatures(network(), "2").hash


def test_reports_refuse_other_features(gen):
    x, y = torch.randn(2, 60, 36, generator=gen)
    maps = {
        "one": LayerFeatures(network(), "4", shape=SHAPE),
        "same": LayerFeatures(network(), "4", shape=SHAPE, batch=7),
        "layer": LayerFeatures(network(), "3", shape=SHAPE, average=True),
        "seed": LayerFeatures(network(seed=1), "4", shape=SHAPE),
        "bare": nn.Linear(36, 3).requires_grad_(False),
        "bare too": nn.Linear(36, 3),
    }
    reports = {name: evaluate(x, y, features=f, splits=4, permutations=0) for name, f in maps.items()}
    reports["none"] = evaluate(x, y, splits=4, permutations=0)
    assert Comparison({"one": reports["one"], "same": reports["same"]}).measures()
    with pytest.raises(ValueError, match="must come from the same features"):
        Comparison({"bare": reports["bare"], "bare too": reports["bare too"]})
    for name in ("layer", "seed", "none"):
        with pytest.raises(ValueError, match="must come from the same features"):
            Comparison({"one": reports["one"], name: reports[name]})
        with pytest.raises(ValueError, match="must come from the same features"):
            reports["one"].above(reports[name])


def test_other_types_of_weights_and_no_weights(images):
    double = LayerFeatures(network().double(), "4", shape=SHAPE)
    assert double(images).dtype == torch.float32
    assert torch.allclose(double(images), LayerFeatures(network(), "4", shape=SHAPE)(images), rtol=1e-4)
    assert torch.equal(LayerFeatures(nn.Sequential(nn.ReLU()), "0")(images), images.relu())


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused, self.pair = nn.ReLU(), nn.ReLU(), nn.GRU(4, 4)
        self.total = nn.Flatten(0)

    def forward(self, x):
        return self.total(self.pair(self.used(x))[0])


@pytest.mark.parametrize(
    ("layer", "x", "error", "message"),
    [
        ("unused", torch.zeros(2, 4), ValueError, "ended without it"),
        ("pair", torch.zeros(2, 4), TypeError, "layer must give a tensor, got tuple"),
        ("total", torch.zeros(2, 4), ValueError, r"must give \[b, …\] for b images, got \[8\] for 2"),
        ("used", torch.zeros(2, 2, 2), ValueError, r"x must have shape \[n, d\]"),
        ("used", torch.zeros(2, 4).int(), TypeError, "float32 or float64"),
    ],
)
def test_refusals_of_calls(layer, x, error, message):
    with pytest.raises(error, match=message):
        LayerFeatures(Branch(), layer)(x)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": "7"}, ValueError, r"layer must be one of \['0', '1', '2', '2.0'"),
        ({"layer": ""}, ValueError, "layer must be one of"),
        ({"shape": (1, 0)}, ValueError, "shape must be at least 1"),
        ({"batch": 0}, ValueError, "batch must be at least 1"),
        ({"module": torch.relu}, TypeError, "module must be a torch.nn.Module"),
    ],
)
def test_refusals_of_options(options, error, message):
    with pytest.raises(error, match=message):
        LayerFeatures(**({"module": network(), "layer": "0"} | options))


def test_refusal_of_rows_that_do_not_have_the_shape():
    with pytest.raises(ValueError, match="x must have 36 columns"):
        LayerFeatures(network(), "0", shape=SHAPE)(torch.zeros(2, 35))
