"""Data and networks of somebody new: nothing is misread, what does not fit is refused, and the remedies work."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

import gan
from gan import GAN, data, losses, networks

X = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


class Items(Dataset):
    """A map-style dataset of whatever `make` returns."""

    def __init__(self, make, n=12):
        self.make, self.n = make, n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return self.make(index)


class Scored(nn.Module):
    """A critic whose scores are changed at the end."""

    def __init__(self, end=lambda v: v):
        super().__init__()
        self.layer, self.end = nn.Linear(64, 1), end

    def forward(self, x):
        return self.end(self.layer(x.flatten(1)))


def pixels():
    return networks.Generator(nn.Sequential(nn.Linear(2, 64), nn.Unflatten(1, (1, 8, 8))), latent_dim=2)


def of_classes():
    return networks.conv_generator(shape=(1, 8, 8), num_classes=3, channels=4)


def fit(samples, generator=None, critic=None, **changes):
    loss = losses.Energy() if critic is None else losses.NonSaturating()
    options = {"steps": 4, "batch_size": 8, "device": "cpu", "progress": False} | changes
    return GAN(generator or pixels(), critic, loss=loss).fit(samples, **options)


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


GREY, COLOUR = np.arange(64, dtype=np.uint8).reshape(8, 8), np.arange(192, dtype=np.uint8).reshape(8, 8, 3)


def test_one_grey_picture_does_not_make_a_folder_grey(tmp_path):
    for i in range(5):
        write(tmp_path / f"{i}.png", COLOUR if i else GREY)
    found = data.folder(tmp_path, progress=False)
    assert found.train.shape[1] == 3
    whole = torch.cat([found.train, found.held_out]).long().sum((1, 2, 3)).tolist()
    assert sorted(whole) == sorted([3 * int(GREY.sum())] + 4 * [int(COLOUR.sum())])
    for i in range(5):  # grey values that are written as colour are grey
        write(tmp_path / f"{i}.png", np.repeat(GREY[..., None], 3, 2) if i else GREY)
    assert data.folder(tmp_path, progress=False).train.shape[1] == 1


def test_sixteen_bits_become_eight(tmp_path):
    deep = (257 * np.arange(256)).astype(np.uint16).reshape(16, 16)
    for i in range(4):
        write(tmp_path / f"{i}.png", deep)
    found = data.folder(tmp_path, progress=False).train[0, 0]
    assert found.flatten().tolist() == list(range(256))
    Image.fromarray(np.zeros((16, 16), dtype=np.float32)).save(tmp_path / "0.tiff")
    with pytest.raises(ValueError, match="save it with 8 or 16 bits"):
        data.folder(tmp_path, progress=False)


def test_pictures_beside_classes_are_told(tmp_path, caplog):
    for i in range(5):
        write(tmp_path / "cat" / f"{i}.png", GREY)
    write(tmp_path / "stray.png", GREY)
    assert data.folder(tmp_path, progress=False).train_labels is None
    assert "1 of 6 lie beside the subfolders; move each into the subfolder of its class" in caplog.text
    (tmp_path / "stray.png").rename(tmp_path / "cat" / "stray.png")
    one = data.folder(tmp_path, progress=False)
    assert one.num_classes == 1
    assert fit(one, networks.conv_generator(shape=(1, 8, 8), num_classes=1)).sample(2, seed=0).shape == (
        2,
        1,
        8,
        8,
    )


def test_broken_pictures_are_refused_by_name(tmp_path):
    for i in range(5):
        write(tmp_path / f"{i}.png", GREY)
    for content in (b"no picture", b"", (tmp_path / "0.png").read_bytes()[:45]):
        (tmp_path / "3.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"3.png cannot be read as a picture.*take it away"):
            data.folder(tmp_path, progress=False)
    (tmp_path / "3.png").unlink()
    assert len(data.folder(tmp_path, progress=False).train) == 2


ROWS = np.zeros((10, 2))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": ROWS, "y": np.array(["a", "b"] * 5)}, r"numpy.unique\(labels, return_inverse=True\)"),
        (
            {"x": ROWS, "y": np.zeros(7, int)},
            r"labels in .* must be whole numbers \[10\].*got torch.int64 \[7\]",
        ),
        ({"x": ROWS, "y": np.linspace(0, 1, 10)}, "must be whole numbers"),
        ({"x": ROWS, "y": np.full(10, -1)}, "number the classes from 0"),
        ({"x": ROWS, "y": np.eye(2)[[0, 1] * 5]}, r"take .argmax\(1\)"),
        ({"x": ROWS.astype(complex)}, "must hold real numbers"),
        (
            {"x": np.where(np.arange(20).reshape(10, 2) == 3, np.nan, 0)},
            "finite float32 numbers, got 1 samples",
        ),
        ({"x": np.full((10, 2), 1e300)}, "finite float32 numbers, got 10 samples"),
        (
            {"train": np.zeros((10, 3)), "test": ROWS},
            r"one shape and type, got \[3\] torch.float32 and \[2\]",
        ),
    ],
)
def test_arrays_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        data.file(tmp_path / "a.npz")


def test_the_remedies_for_arrays_work(tmp_path):
    names, hot = np.array(["a", "b"] * 5), np.eye(2)[[0, 1] * 5]
    for labels in (
        np.unique(names, return_inverse=True)[1],
        hot.argmax(1),
        hot.argmax(1)[:, None],
        hot.argmax(1) * 1.0,
    ):
        np.savez(tmp_path / "a.npz", x=np.arange(10.0)[:, None], y=labels)
        found = data.file(tmp_path / "a.npz")
        assert found.train_labels.equal(found.train[:, 0].long() % 2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Items(lambda i: {"image": X[i], "label": 0}),
            TypeError,
            "got a dict of 'image', 'label'; return the",
        ),
        (
            lambda: Items(lambda i: Image.new("L", (8, 8))),
            TypeError,
            r"torch.from_numpy\(numpy.array\(picture\)\)",
        ),
        (
            lambda: Items(lambda i: (X[i], "cat")),
            TypeError,
            "must be whole numbers, got str; number the classes",
        ),
        (lambda: Items(lambda i: (X[i], 0, 1)), TypeError, "got 3 things"),
        (lambda: Items(lambda i: X[i] if i != 5 else X[i] * torch.nan), ValueError, "data must be finite"),
        (lambda: Items(lambda i: X[i] if i != 5 else X[i, :, :4]), TypeError, "of one shape.*stack expects"),
        (lambda: Items(lambda i: X[i], 0), ValueError, "at least 1 sample, got an empty dataset"),
        (lambda: DataLoader(Items(lambda i: (X[i], "c")), 4), TypeError, "must be whole numbers, got str"),
        (lambda: DataLoader(Items(lambda i: {"a": X[i]}), 4), TypeError, "got a dict of 'a'.*collate_fn"),
    ],
)
def test_datasets_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        fit(make(), steps=8)


def test_the_remedies_for_datasets_work():
    fit(Items(lambda i: (X[i], 0)))
    fit(Items(lambda i: torch.from_numpy(np.array(Image.new("L", (8, 8))))[None]))
    fit(
        DataLoader(
            Items(lambda i: {"a": X[i]}), 4, collate_fn=lambda rows: torch.stack([r["a"] for r in rows])
        )
    )
    assert fit(X[:3], batch_size=64).sample(2, seed=0).shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    "kind", [lambda rows: rows, lambda rows: DataLoader(rows, 4)], ids=["dataset", "loader"]
)
def test_classes_of_every_batch_are_looked_at(kind):
    for label, message in (
        (7, "below num_classes = 3, got 7"),
        (-1, "0 or more, got -1"),
        (0.5, "whole numbers"),
    ):
        rows = Items(lambda i, label=label: (X[i], label if i == 5 else type(label)(i % 3)))
        with pytest.raises(ValueError, match=message):
            fit(kind(rows), of_classes(), steps=8)
    fit(kind(Items(lambda i: (X[i], i % 3))), of_classes())
    fit(kind(Items(lambda i: (X[i], 0.5))))  # targets that nobody asks for


def test_labels_beside_a_tensor():
    with pytest.raises(TypeError, match=r"numpy.unique\(labels, return_inverse=True\)"):
        fit(X, of_classes(), labels=["a", "b", "c"] * 4)
    numbered = np.unique(["a", "b", "c"] * 4, return_inverse=True)[1]
    fit(X, of_classes(), labels=numbered)
    fit(X, of_classes(), labels=[0, 1, 2] * 4)
    with pytest.raises(ValueError, match=r"take .argmax\(1\)"):
        fit(X, of_classes(), labels=torch.eye(3)[[0, 1, 2] * 4])


def test_channels_last_are_moved_and_not_reshaped():
    last = torch.randint(256, (12, 8, 8, 3), dtype=torch.uint8)
    made = networks.conv_generator(shape=(3, 8, 8), channels=4)
    with pytest.raises(ValueError, match=r"torch.as_tensor\(data\).permute\(0, 3, 1, 2\)"):
        fit(last, made)
    fit(torch.as_tensor(last).permute(0, 3, 1, 2), made)
    grey = last[..., 0]
    with pytest.raises(ValueError, match=r"data.reshape\(-1, 1, 8, 8\)"):
        fit(grey)
    fit(grey.reshape(-1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"images without channels are like\[:, None\]"):
        gan.recipe("js", like=grey)
    gan.recipe("js", like=grey[:, None]).players(seed=0)
    with pytest.raises(ValueError, match="like must be finite"):
        gan.recipe("js", like=torch.full((4, 2), torch.nan))


def test_floats_that_look_like_bytes_are_told(caplog):
    as_bytes = torch.randint(256, (12, 1, 8, 8), dtype=torch.uint8)
    fit(as_bytes.float())
    assert "pass them as uint8, or data / 127.5 - 1" in caplog.text
    caplog.clear()
    both = (as_bytes, as_bytes.float() / 127.5 - 1)
    remedied = [fit(x, networks.conv_generator(shape=(1, 8, 8))).sample(2, seed=0) for x in both]
    assert torch.equal(*remedied)
    assert "uint8" not in caplog.text


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        (torch.eye(12).to_sparse(), TypeError, r"use .to_dense\(\)"),
        (X.to(torch.complex64), TypeError, "view_as_real"),
        (torch.full((12, 1, 8, 8), 1e300, dtype=torch.float64), ValueError, "data must be finite"),
    ],
)
def test_tensors_are_refused(samples, error, message):
    with pytest.raises(error, match=message):
        fit(samples)


@pytest.mark.parametrize(
    ("generator", "critic", "error", "message"),
    [
        (
            None,
            Scored(lambda v: v[:, 0]),
            ValueError,
            r"got \[2\] for n = 2; let its forward return scores\[:, None\]",
        ),
        (None, Scored(lambda v: v[..., None]), ValueError, r"return scores.flatten\(1\)"),
        (None, Scored(lambda v: v.mean()), ValueError, r"nn.Linear\(features, 1\)"),
        (None, Scored(lambda v: (v, v)), TypeError, "critic must return one tensor, got tuple"),
        (None, Scored().double(), TypeError, r"write critic.to\(torch.float32\)"),
        (pixels().half(), None, TypeError, r"write generator.float\(\)"),
        (pixels().requires_grad_(False), None, ValueError, r"write generator.requires_grad_\(\)"),
        (None, Scored().requires_grad_(False), ValueError, r"write critic.requires_grad_\(\)"),
    ],
)
def test_networks_are_refused(generator, critic, error, message):
    with pytest.raises(error, match=message):
        fit(X, generator, critic)


def test_the_remedies_for_networks_work():
    fit(X, None, Scored(lambda v: v[:, 0][:, None]))
    fit(X, None, Scored(lambda v: v[..., None].flatten(1)))
    fit(X, None, Scored().double().to(torch.float32))
    fit(X, pixels().double(), Scored().double())
    fit(X, pixels().half().float())
    fit(X, pixels().requires_grad_(False).requires_grad_(), Scored())


def test_a_sigmoid_at_the_end_is_told():
    critic = nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Sigmoid())
    with pytest.warns(UserWarning, match="before a sigmoid.*leave the critic's out"):
        fit(X, None, critic)
    fit(X, None, critic[:2])


class MyGenerator(nn.Sequential):
    def __init__(self):
        layers = [nn.Linear(100, 8 * 8 * 8), nn.Unflatten(1, (8, 8, 8)), nn.ReLU()]
        layers += [nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.ReLU()]
        super().__init__(*layers, nn.ConvTranspose2d(4, 3, 4, 2, 1), nn.Tanh())


class MyCritic(nn.Sequential):
    def __init__(self):
        layers = [nn.Conv2d(3, 4, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(4, 8, 4, 2, 1), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Flatten(), nn.Linear(8 * 8 * 8, 1))


def test_the_five_lines_of_the_guide():
    guide = (Path(__file__).parents[2] / "docs" / "gan.md").read_text()
    lines = next(block for block in guide.split("```python\n") if "MyGenerator()" in block).split("```")[0]
    assert len(lines.strip().splitlines()) == 5
    assert "steps=20_000" in lines
    images = torch.randint(256, (80, 3, 32, 32), dtype=torch.uint8)
    names = {"gan": gan, "GAN": GAN, "networks": networks, "images": images}
    names |= {"MyGenerator": MyGenerator, "MyCritic": MyCritic}
    exec(lines.replace("steps=20_000", 'steps=2, device="cpu", progress=False'), names)
    assert names["samples"].shape == (64, 3, 32, 32)
