"""One set of features whatever the samples come in, and a cache that knows its data and its weights."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import metrics
from metrics.features import features_of, identity, read_source, sources


@pytest.fixture
def pictures(tmp_path, gen):
    images = torch.randint(256, (30, 3, 4, 5), generator=gen, dtype=torch.uint8)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i:02d}.png")
    return folder, images


class Flat(torch.nn.Module):
    """Sums of pixels times a weight; counts its calls."""

    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight))
        self.seen = []

    def forward(self, x):
        self.seen.append(len(x))
        return self.weight * x.float().flatten(1).cumsum(1)[:, ::7]


def test_every_source_has_the_same_features(pictures, tmp_path):
    folder, images = pictures
    np.save(tmp_path / "a.npy", images.numpy())
    np.savez(tmp_path / "b.npz", images=images.numpy(), labels=np.arange(30))
    labelled = TensorDataset(images, torch.arange(30))
    want = Flat()(images)
    given = [
        images,
        images.numpy(),
        folder,
        str(folder),
        tmp_path / "a.npy",
        tmp_path / "b.npz",
        labelled,
        DataLoader(labelled, batch_size=7),
        (part for part in images.split(11)),
        list(images.split(11)),
    ]
    for source in given:
        torch.testing.assert_close(features_of(source, Flat(), batch_size=8), want.detach(), rtol=0, atol=0)
    network = Flat()
    features_of(folder, network, batch_size=8)
    assert network.seen == [8, 8, 8, 6]
    assert torch.equal(features_of(folder), images.float().flatten(1))
    assert features_of(folder, size=(2, 2), grey=True).shape == (30, 4)


def test_arrays_of_rows_in_a_file_are_features_already(tmp_path, gen):
    x = torch.randn(6, 3, generator=gen)
    np.save(tmp_path / "x.npy", x.numpy())
    network = Flat()
    assert torch.equal(features_of(tmp_path / "x.npy", network), x)
    assert network.seen == []


def test_a_cache_is_found_by_the_same_data_and_weights_alone(pictures, tmp_path):
    folder, images = pictures
    cache = tmp_path / "cache"
    first, again, other = Flat(), Flat(), Flat(2.0)
    want = features_of(folder, first, cache=cache)
    assert torch.equal(features_of(folder, again, cache=cache), want)
    assert again.seen == []
    assert torch.equal(features_of(folder, other, cache=cache), 2 * want)
    Image.new("RGB", (5, 4)).save(folder / "00.png")
    changed = features_of(folder, again, cache=cache)
    assert again.seen == [30]
    assert not torch.equal(changed[0], want[0])
    assert torch.equal(changed[1:], want[1:])
    assert len(list(cache.iterdir())) == 3
    assert torch.equal(features_of(images, again, cache=cache), want)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (3, TypeError, "source must be a tensor"),
        ("nowhere", FileNotFoundError, "no folder or file at nowhere"),
        ([], ValueError, "at least one batch"),
        (iter([]), ValueError, "read only once"),
    ],
)
def test_refusals_of_sources(source, error, message):
    with pytest.raises(error, match=message):
        features_of(source)


def test_refusals_of_files_caches_and_sizes(pictures, tmp_path):
    folder, images = pictures
    np.savez(tmp_path / "fid.npz", mu=np.zeros(3), sigma=np.eye(3))
    with pytest.raises(ValueError, match="statistics mu and sigma, and no samples"):
        features_of(tmp_path / "fid.npz")
    np.savez(tmp_path / "two.npz", a=np.zeros((2, 2)), b=np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"one array .* got \['a', 'b'\]"):
        features_of(tmp_path / "two.npz")
    with pytest.raises(ValueError, match="cannot be told from another map"):
        features_of(images, lambda x: x, cache=tmp_path)
    with pytest.raises(ValueError, match="read only once; pass a folder"):
        features_of(iter([images]), cache=tmp_path)
    Image.new("RGB", (9, 9)).save(folder / "99.png")
    for batch_size in (256, 30):
        with pytest.raises(ValueError, match=r"one size.*pass size=\(height, width\)"):
            features_of(folder, batch_size=batch_size)
    assert features_of(folder, size=(4, 4)).shape == (31, 48)


def test_evaluate_takes_sources(pictures):
    folder, images = pictures
    quick = {"splits": 2, "permutations": 9}
    want = metrics.evaluate(images.flip(0), images.flip(2), **quick)
    loader = DataLoader(TensorDataset(images.flip(0)), batch_size=9)
    assert metrics.evaluate(loader, images.flip(2), **quick).to_dict() == want.to_dict()
    assert torch.equal(read_source(folder), images)
    one, other = identity(Flat()), identity(Flat(2.0))
    assert one != other
    assert one.startswith("Flat, weights ")
    assert sources.identity(len) == "len"
