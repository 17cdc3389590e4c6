"""Offline: against a stand-in with torch-fidelity's interface, and its real architecture where that is installed."""

import sys
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from metrics.evaluation.evaluate import evaluate
from metrics.evaluation.report import Comparison
from metrics.features.inception import InceptionFeatures


class StandIn(nn.Module):
    """What torch-fidelity's network promises: uint8 [n, 3, h, w] in, a tuple of the asked layers out."""

    calls: list[int]

    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        assert feature_extractor_weights_path is not None, "torch-fidelity would download"
        assert name == "inception-v3"
        assert features_list == ["2048"]
        self.mix = nn.Linear(3, 5)
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=True))
        self.calls = []

    def forward(self, x):
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        self.calls.append(len(x))
        return (self.mix(x.float().mean((2, 3))),)


@pytest.fixture
def stand_in(monkeypatch):
    package, module = ModuleType("torch_fidelity"), ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = StandIn
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", module)


@pytest.fixture
def weights(tmp_path, gen):
    """A file of weights for the stand-in, and what is in it."""
    state = {"mix.weight": torch.randn(5, 3, generator=gen), "mix.bias": torch.randn(5, generator=gen)}
    path = tmp_path / "inception.pth"
    torch.save(state, path)
    return path, state


def test_bytes_and_flat_pixels_are_the_same_images(stand_in, weights, gen, dtype):
    path, state = weights
    images = torch.randint(256, (7, 3, 4, 6), dtype=torch.uint8, generator=gen)
    flat = images.flatten(1).to(dtype) / 127.5 - 1
    features = InceptionFeatures(path, shape=(3, 4, 6))
    want = images.float().mean((2, 3)) @ state["mix.weight"].T + state["mix.bias"]
    assert torch.equal(features(flat), features(images).to(dtype))
    assert torch.allclose(features(images), want, rtol=1e-5)
    assert features(flat).dtype == dtype
    assert features(images).dtype == torch.float32
    # Pixels are rounded to the nearest of 256 values, and both ends are reached.
    assert torch.equal(features(flat + 0.4 / 127.5 * (flat < 0.9)), features(flat))
    ends = torch.tensor([[-1.0, 1.0]], dtype=dtype).expand(1, 2)
    assert InceptionFeatures(path, shape=(1, 1, 2))._bytes(ends).tolist() == [[[[0, 255]]]]


def test_grey_is_repeated_and_batches_change_nothing(stand_in, weights, gen):
    path, _ = weights
    grey = torch.randint(256, (7, 1, 4, 4), dtype=torch.uint8, generator=gen)
    features = InceptionFeatures(path, batch=3)
    whole = InceptionFeatures(path)(grey.expand(-1, 3, -1, -1))
    # A product of three rows may round otherwise than one of seven.
    torch.testing.assert_close(features(grey), whole, rtol=1e-6, atol=float(1e-6 * whole.abs().max()))
    assert features._network.calls == [3, 3, 1]


def test_scores_of_features_are_a_product_with_the_last_layer(stand_in, tmp_path, weights, gen, monkeypatch):
    _, state = weights
    monkeypatch.setattr(StandIn, "load_state_dict", lambda self, found: None)
    head = torch.randn(4, 5, generator=gen)
    torch.save(state | {"fc.weight": head}, tmp_path / "whole.pth")
    features = torch.randn(6, 5, generator=gen)
    found = InceptionFeatures(tmp_path / "whole.pth").logits(features)
    torch.testing.assert_close(found, features @ head.T)
    with pytest.raises(ValueError, match="features must have 5 columns"):
        InceptionFeatures(tmp_path / "whole.pth").logits(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"weights must hold fc\.weight"):
        InceptionFeatures(weights[0]).logits(features)


def test_the_hash_is_of_the_weights_and_not_of_the_file(stand_in, weights, tmp_path):
    path, state = weights
    save_file(state, tmp_path / "same.safetensors")
    torch.save({name: t + 1e-7 for name, t in state.items()}, tmp_path / "other.pth")
    one, same, other = (InceptionFeatures(tmp_path / n) for n in (path.name, "same.safetensors", "other.pth"))
    assert one.hash == same.hash != other.hash
    assert len(one.hash) == 64
    assert one.name == "Inception-v3 of torch-fidelity, 2048"


def test_reports_refuse_other_weights(stand_in, weights, tmp_path, gen):
    path, state = weights
    torch.save({name: t + 1e-7 for name, t in state.items()}, tmp_path / "other.pth")
    x, y = 2 * torch.rand(2, 50, 12, generator=gen) - 1
    shape = (3, 2, 2)
    reports = {
        name: evaluate(x, y, features=InceptionFeatures(file, shape=shape), splits=4, permutations=0)
        for name, file in (("a", path), ("b", tmp_path / "other.pth"))
    }
    assert "Inception-v3" in reports["a"].features
    with pytest.raises(ValueError, match="must come from the same features"):
        Comparison(reports)


def test_no_file_is_ever_unpickled(stand_in, tmp_path):
    class Harm:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    torch.save({"mix.weight": Harm()}, tmp_path / "harm.pth")
    with pytest.raises(ValueError, match=r"must be a whole file of torch\.save"):
        InceptionFeatures(tmp_path / "harm.pth")


def test_without_torch_fidelity_the_error_says_what_to_install(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ImportError, match="pip install torch-fidelity"):
        InceptionFeatures(weights[0])


def test_refusals_of_the_file(stand_in, tmp_path):
    (tmp_path / "text.pth").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"mix.weight": torch.zeros(5, 3)}, tmp_path / "half.pth")
    for name, error, message in (
        ("none.pth", FileNotFoundError, "weights-inception-2015-12-05-6726825d.pth"),
        ("text.pth", ValueError, "must be a whole file of torch.save"),
        ("list.pth", ValueError, "must hold a state dict of tensors, got list"),
        ("half.pth", ValueError, "must be those of torch-fidelity's Inception-v3"),
    ):
        with pytest.raises(error, match=message):
            InceptionFeatures(tmp_path / name)


@pytest.mark.parametrize(
    ("x", "shape", "error", "message"),
    [
        (torch.zeros(2, 3, 4, 4), (3, 4, 4), ValueError, r"x must have shape \[n, d\]"),
        (torch.zeros(2, 48), None, ValueError, r"pass shape=\(c, h, w\)"),
        (torch.zeros(2, 47), (3, 4, 4), ValueError, "x must have 48 columns"),
        (torch.full((2, 48), 255.0), (3, 4, 4), ValueError, r"pixels in \[−1, 1\], got 255 to 255"),
        (torch.zeros(2, 48, dtype=torch.int32), (3, 4, 4), TypeError, "float32 or float64"),
        (torch.zeros(2, 4, 4, 3, dtype=torch.uint8), None, ValueError, r"\[n, 3, h, w\] or \[n, 1, h, w\]"),
        (torch.zeros(0, 3, 4, 4, dtype=torch.uint8), None, ValueError, r"got \[0, 3, 4, 4\]"),
        ("images", None, TypeError, "x must be a torch.Tensor"),
    ],
)
def test_refusals_of_images(stand_in, weights, x, shape, error, message):
    with pytest.raises(error, match=message):
        InceptionFeatures(weights[0], shape=shape)(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (4, 4)}, r"shape must be \(3, h, w\) or \(1, h, w\)"),
        ({"shape": (2, 4, 4)}, r"shape must be \(3, h, w\) or \(1, h, w\)"),
        ({"shape": (3, 0, 4)}, "must be at least 1"),
        ({"layer": "pool3"}, "layer must be one of"),
        ({"batch": 0}, "batch must be at least 1"),
    ],
)
def test_refusals_of_options(stand_in, weights, options, message):
    with pytest.raises(ValueError, match=message):
        InceptionFeatures(weights[0], **options)


def test_the_real_architecture_with_random_weights(tmp_path, monkeypatch, gen):
    """Its 2048 features, and the same of one image alone as among others; no network is needed."""
    real = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    monkeypatch.setattr(real, "load_state_dict_from_url", lambda *_, **__: pytest.fail("download"))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", lambda *_, **__: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
        blank = real.FeatureExtractorInceptionV3("blank", ["2048"], feature_extractor_weights_path="none")
    torch.save(blank.state_dict(), tmp_path / "random.pth")
    images = torch.randint(256, (3, 3, 8, 8), dtype=torch.uint8, generator=gen)
    features = InceptionFeatures(tmp_path / "random.pth", shape=(3, 8, 8), batch=2)
    found = features(images)
    assert found.shape == (3, 2048)
    assert torch.allclose(found, blank(images)[0], rtol=1e-4, atol=1e-5 * float(found.abs().max()))
    assert torch.allclose(features(images[2:]), found[2:], rtol=1e-4, atol=1e-5 * float(found.abs().max()))
