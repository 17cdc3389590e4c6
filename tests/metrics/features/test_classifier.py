import warnings

import pytest
import torch

from metrics.features.classifier import cache_folder, digits_classifier
from metrics.features.digits import load_digits_split


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BAYESSGD_CACHE", str(tmp_path))
    monkeypatch.setattr("metrics.features.classifier.STEPS", 150)
    return tmp_path


@pytest.fixture
def toy(gen):
    """Two classes of 3 × 3 images, so that training is on something other than the digits."""
    labels = torch.arange(40) % 2
    images = (torch.rand(40, 9, generator=gen) - 0.5) + 0.5 * labels[:, None]
    return images.clamp(-1, 1), labels


def test_it_reads_digits_that_it_has_not_seen():
    """A linear rule is right for 95 % of them; 899 images give a standard error of 0.6 %."""
    features, digits = digits_classifier(), load_digits_split()
    right = (features.logits(digits.held_x).argmax(1) == digits.held_y).double().mean()
    assert right > 0.95
    assert features(digits.held_x).shape == (899, 32)


def test_second_use_reads_the_cache(cache, monkeypatch):
    first = digits_classifier()
    (file,) = cache.iterdir()
    monkeypatch.setattr("metrics.features.classifier._train", lambda *_: pytest.fail("trained again"))
    again = digits_classifier()
    assert again.hash == first.hash
    x = load_digits_split().held_x
    assert torch.equal(first(x), again(x))
    assert file.suffix == ".safetensors"
    assert cache_folder() == cache


def test_training_again_gives_the_same_bits_and_other_seeds_or_data_others(cache, toy):
    one = digits_classifier(*toy)
    for file in cache.iterdir():
        file.unlink()
    two = digits_classifier(*toy)
    assert one.hash == two.hash
    assert all(torch.equal(a, b) for a, b in zip(one.weights, two.weights, strict=True))
    assert digits_classifier(*toy, seed=1).hash != one.hash
    assert digits_classifier(-toy[0], toy[1]).hash != one.hash
    assert len(list(cache.iterdir())) == 3
    assert one.hash in {digits_classifier(*toy).hash}


def test_training_leaves_the_global_seed_alone(cache, toy):
    before = torch.random.get_rng_state()
    digits_classifier(*toy)
    assert torch.equal(before, torch.random.get_rng_state())


def test_training_works_where_gradients_are_off(cache, toy):
    with torch.no_grad():
        features = digits_classifier(*toy)
    assert (features.logits(toy[0]).argmax(1) == toy[1]).double().mean() > 0.9


@pytest.mark.parametrize("harm", ["cut", "flip", "text", "other"])
def test_a_damaged_file_is_trained_anew_with_a_warning(cache, toy, harm):
    want = digits_classifier(*toy).hash
    (file,) = cache.iterdir()
    content = bytearray(file.read_bytes())
    if harm == "cut":
        content = content[: len(content) // 2]
    elif harm == "flip":
        content[-5] ^= 64  # a bit of a weight: the format is still valid
    elif harm == "text":
        content = bytearray(b"not a file of ours")
    else:
        digits_classifier(*toy, seed=5)
        content = bytearray(next(f for f in cache.iterdir() if f != file).read_bytes())
    file.write_bytes(content)
    with pytest.warns(UserWarning, match="cached features are damaged and are trained anew"):
        assert digits_classifier(*toy).hash == want
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert digits_classifier(*toy).hash == want  # the file is whole again


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch, toy):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("BAYESSGD_CACHE", str(blocked / "below"))
    with pytest.warns(UserWarning, match="features are not cached"):
        digits_classifier(*toy)


def test_features_follow_the_type_of_their_input_and_pass_gradients(dtype):
    features = digits_classifier()
    x = load_digits_split(dtype=dtype).held_x[:5].requires_grad_()
    out = features(x)
    assert out.dtype == dtype
    out.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in features.weights)


IMAGES, LABELS = torch.zeros(4, 9), torch.tensor([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (IMAGES, None, ValueError, "got no labels"),
        (None, LABELS, ValueError, "got no images"),
        (IMAGES, LABELS[:3], ValueError, r"labels must have shape \[4\]"),
        (IMAGES, LABELS.float(), TypeError, "labels must be an int64 tensor"),
        (IMAGES, LABELS.tolist(), TypeError, "labels must be an int64 tensor, got list"),
        (IMAGES + 16, LABELS, ValueError, r"pixels in \[−1, 1\], got up to 16"),
        (IMAGES.reshape(4, 3, 3), LABELS, ValueError, r"images must have shape \[n, d\]"),
        (IMAGES, LABELS * 0, ValueError, "classes 0 and 1 at least"),
        (IMAGES, LABELS - 1, ValueError, "classes 0 and 1 at least"),
    ],
)
def test_refusals(images, labels, error, message):
    with pytest.raises(error, match=message):
        digits_classifier(images, labels)


def test_refusals_of_the_map():
    with pytest.raises(ValueError, match="x must have 64 columns"):
        digits_classifier()(torch.zeros(3, 65))
    with pytest.raises(ValueError, match="seed must be at least 0"):
        digits_classifier(seed=-1)
