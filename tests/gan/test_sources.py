"""Data of every kind: the same run from a tensor, a dataset and workers; loaders; refusals whose remedies work."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from gan import GAN, losses, networks
from gan.game import Game

IMAGES = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def model():
    return GAN(networks.conv_generator(shape=(3, 8, 8), latent_dim=4, channels=4), loss=losses.Energy())


def fit(data, made=None, **changes):
    settings = {"steps": 6, "batch_size": 8, "seed": 0, "device": "cpu", "progress": False} | changes
    return (made or model()).fit(data, **settings)


def test_images_keep_their_shape_and_pixels():
    assert fit(IMAGES).sample(5, seed=0).shape == (5, 3, 8, 8)


def test_bytes_stand_for_numbers_from_minus_one_to_one():
    as_bytes = torch.randint(
        256, (30, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    as_numbers = as_bytes.float() / 127.5 - 1
    assert torch.equal(fit(as_bytes).sample(3, seed=0), fit(as_numbers).sample(3, seed=0))


def test_arrays_and_other_types_are_converted_and_told(caplog):
    told = fit(IMAGES.double().numpy()).sample(3, seed=0)
    assert torch.equal(told, fit(IMAGES).sample(3, seed=0))
    assert "data are torch.float64 and the generator is torch.float32: converted" in caplog.text


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_is_drawn_by_the_run_whoever_reads_it(workers):
    """Batch k depends on the seed and on k alone, so that readers ahead change nothing."""
    data = TensorDataset(IMAGES)
    whole, again = fit(data), fit(data, workers=workers)
    assert torch.equal(whole.sample(3, seed=0), again.sample(3, seed=0))
    assert not torch.equal(whole.sample(3, seed=0), fit(data, seed=1).sample(3, seed=0))


def test_a_dataset_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    data, path, step = TensorDataset(IMAGES), tmp_path / "run", Game.step
    whole = fit(data)

    def stops_at_5(self, number, progress):
        if number == 5:
            raise KeyboardInterrupt
        return step(self, number, progress)

    monkeypatch.setattr(Game, "step", stops_at_5)
    with pytest.raises(KeyboardInterrupt):
        fit(data, checkpoint=path, checkpoint_every=2)
    monkeypatch.setattr(Game, "step", step)
    assert torch.equal(fit(data, checkpoint=path).sample(3, seed=0), whole.sample(3, seed=0))


def test_a_loader_gives_its_own_batches():
    seen = []
    fit(DataLoader(IMAGES, 16), augment=lambda batch, generator: (seen.append(len(batch)), batch)[1], steps=3)
    assert {16, 8} <= set(seen) <= {16, 8}


@pytest.mark.parametrize("size", [7, 32])  # 40 = 5·7 + 5; 32 is above the batch size
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("loss", [losses.RelativisticPairing(), losses.Energy()])
def test_as_many_samples_are_generated_as_a_loader_gives(size, classes, loss):
    points = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(TensorDataset(points, torch.arange(40) % 3), size)
    critic = networks.mlp_critic(2, num_classes=classes) if isinstance(loss, losses.ScoreLoss) else None
    made = GAN(networks.mlp_generator(2, num_classes=classes), critic, loss=loss)
    counts = []
    made.generator.register_forward_hook(lambda _, given, out: counts.append(len(out)))
    fit(loader, made, steps=12, batch_size=16)
    assert set(counts) == {size, 40 % size}


def test_a_loader_of_pairs_and_of_plain_batches():
    labels = torch.arange(40) % 3
    fit(DataLoader(TensorDataset(IMAGES, labels), 10))
    fit(DataLoader(IMAGES, 8))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(IMAGES)


class Dicts(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {"image": IMAGES[index]}


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (Stream(), TypeError, "IterableDataset; pass DataLoader"),
        (Dicts(), TypeError, "pair \\(samples, labels\\)"),
        ("digits", TypeError, "gan.data.folder"),
        (torch.zeros(4), ValueError, r"data must have shape \[n, d\]"),
        (torch.full((4, 3, 8, 8), torch.nan), ValueError, "data must be finite"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.int64), TypeError, "use .float"),
        (torch.zeros(0, 3, 8, 8), ValueError, "at least 1 sample"),
        (IMAGES.flatten(1), ValueError, r"data.reshape\(-1, 3, 8, 8\)"),
        (IMAGES[:, :1], ValueError, "give the generator another output"),
    ],
)
def test_refusals(data, error, message):
    with pytest.raises(error, match=message):
        fit(data)


def test_the_remedies_work():
    fit(DataLoader(Stream(), batch_size=8))
    fit(IMAGES.flatten(1).reshape(-1, 3, 8, 8))
    fit(torch.zeros(4, 3, 8, 8, dtype=torch.int64).float())


def test_a_strangers_own_modules_in_five_lines():
    generator = nn.Sequential(nn.Linear(6, 3 * 32 * 32), nn.Unflatten(1, (3, 32, 32)), nn.Tanh())
    critic = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 1))
    images = torch.rand(16, 3, 32, 32) * 2 - 1
    made = GAN(networks.Generator(generator, latent_dim=6), critic, loss=losses.NonSaturating())
    assert fit(images, made).sample(4, seed=0).shape == (4, 3, 32, 32)


def test_a_critic_that_cannot_see_the_data_is_named():
    made = GAN(networks.conv_generator(shape=(3, 8, 8)), nn.Linear(7, 1), loss=losses.NonSaturating())
    with pytest.raises(ValueError, match="critic cannot take inputs of shape"):
        fit(IMAGES, made)


@pytest.mark.parametrize("labels", [np.zeros(39, int), torch.zeros(40), -torch.ones(40, dtype=torch.long)])
def test_labels_that_are_none_are_refused(labels):
    with pytest.raises(ValueError, match="labels must be"):
        fit(IMAGES, labels=labels)
