"""Folders of pictures, files of arrays and Hugging Face rows as data: what is read, how it is split, what is
refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import gan
from gan import data


def write_pictures(folder, count, *, size=(8, 8), colour=False, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for i in range(count):
        shape = (*size, 3) if colour else size
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{i:04d}.png")


def test_bytes_come_back_as_they_are(tmp_path):
    write_pictures(tmp_path, 10)
    found = data.folder(tmp_path, progress=False)
    assert found.train.shape == (8, 1, 8, 8)
    assert found.held_out.shape == (2, 1, 8, 8)
    assert found.train.dtype == torch.uint8
    whole = {tuple(x.flatten().tolist()) for x in torch.cat([found.train, found.held_out])}
    first = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    assert tuple(first.flatten().tolist()) in whole
    assert len(whole) == 10


def test_subfolders_are_classes_and_colour_is_seen(tmp_path):
    for name, count in (("cats", 6), ("dogs", 14)):
        write_pictures(tmp_path / name, count, colour=True, seed=count)
    found = data.folder(tmp_path, progress=False)
    assert found.train.shape == (16, 3, 8, 8)
    assert torch.cat([found.train_labels, found.held_out_labels]).bincount().tolist() == [6, 14]
    assert found.num_classes == 2
    assert data.folder(tmp_path, grey=True, progress=False).train.shape[1] == 1


def test_a_folder_that_is_split_stays_split(tmp_path):
    for part, count in (("train", 6), ("test", 4)):
        for name in ("a", "b"):
            write_pictures(tmp_path / part / name, count)
    found = data.folder(tmp_path, progress=False)
    assert (len(found.train), len(found.held_out)) == (12, 8)
    assert found.train_labels.bincount().tolist() == [6, 6]
    assert found.held_out_labels.bincount().tolist() == [4, 4]


def test_pictures_are_cut_around_their_centre(tmp_path):
    wide = np.zeros((8, 16), dtype=np.uint8)
    wide[:, 4:12] = 200
    for i in range(4):
        Image.fromarray(wide).save(tmp_path / f"{i}.png")
    found = data.folder(tmp_path, size=4, progress=False)
    assert found.train.shape[1:] == (1, 4, 4)
    assert bool((found.train == 200).all())


def test_files_that_need_not_fit_into_memory(tmp_path):
    write_pictures(tmp_path, 12, size=(10, 10))
    files = data.ImageFiles(sorted(tmp_path.iterdir()), size=(8, 8), grey=True, labels=[0, 1] * 6)
    model = gan.GAN(gan.networks.conv_generator(shape=(1, 8, 8), num_classes=2), loss=gan.losses.Energy())
    model.fit(files, steps=2, batch_size=4, workers=2, device="cpu", progress=False)
    assert model.sample(2, seed=0, labels=1).shape == (2, 1, 8, 8)


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors"])
def test_arrays_of_every_kind(tmp_path, kind):
    x, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 4
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, x)
    elif kind == "npz":
        np.savez(path, samples=x, labels=y)
    else:
        save_file(
            {
                "train": torch.from_numpy(x),
                "held_out": torch.from_numpy(x[:5]),
                "labels": torch.from_numpy(y),
            },
            path,
        )
    found = data.file(path)
    assert found.train.dtype == torch.float32
    assert len(found.train) == (20 if kind == "safetensors" else 16)
    assert (found.train_labels is None) == (kind == "npy")
    whole = found.train if kind == "safetensors" else torch.cat([found.train, found.held_out])
    assert sorted(map(tuple, whole.tolist())) == sorted(map(tuple, torch.from_numpy(x).float().tolist()))


def test_arrays_of_pictures_get_their_channels_first(tmp_path):
    last = np.random.default_rng(0).integers(0, 256, (10, 6, 5, 3), dtype=np.uint8)
    for name, array, shape in (("last", last, (3, 6, 5)), ("grey", last[..., 0], (1, 6, 5))):
        np.save(tmp_path / f"{name}.npy", array)
        found = data.file(tmp_path / f"{name}.npy")
        assert found.train.shape[1:] == shape
        assert found.train.dtype == torch.uint8
    first = torch.cat([data.file(tmp_path / "last.npy").train, data.file(tmp_path / "last.npy").held_out])
    assert {int(x.long().sum()) for x in first} == {int(x.astype(int).sum()) for x in last}


class Rows(list):
    """As `datasets.Dataset`: rows by their number, each a dict of columns."""


def test_rows_of_pictures(tmp_path):
    picture = Image.fromarray(np.full((8, 8, 3), 7, dtype=np.uint8))
    rows = Rows({"image": picture, "label": i % 2} for i in range(10))
    found = data.hugging_face(rows)
    assert found.train.shape == (8, 3, 8, 8)
    assert bool((found.train == 7).all())
    both = data.hugging_face({"train": rows, "test": Rows(rows[:4])}, grey=True, size=4)
    assert (both.train.shape, both.held_out.shape) == ((10, 1, 4, 4), (4, 1, 4, 4))
    assert both.train_labels.tolist() == [0, 1] * 5
    with pytest.raises(ValueError, match=r"image must be a column.*'image', 'label'"):
        data.hugging_face(rows, image="img")
    assert data.hugging_face(rows, label=None).train_labels is None


def refused(make, message, error=ValueError):
    with pytest.raises(error, match=message):
        make()


def test_refusals_and_their_remedies(tmp_path):
    refused(lambda: data.folder(tmp_path / "none"), "no folder at", FileNotFoundError)
    refused(lambda: data.folder(tmp_path), "no picture in", FileNotFoundError)
    write_pictures(tmp_path, 4)
    Image.fromarray(np.zeros((9, 9), dtype=np.uint8)).save(tmp_path / "other.png")
    refused(lambda: data.folder(tmp_path, progress=False), r"one size.*size=\(height, width\)")
    assert len(data.folder(tmp_path, size=(8, 8), progress=False).train) == 4 - 1
    (tmp_path / "broken.png").write_bytes(b"no picture")
    refused(lambda: data.folder(tmp_path, size=8, progress=False), "broken.png cannot be read as a picture")
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    refused(lambda: data.file(tmp_path / "o.npy"), "cannot be read as plain arrays")
    np.savez(tmp_path / "z.npz", a=np.zeros((4, 2)), b=np.zeros((4, 2)))
    refused(lambda: data.file(tmp_path / "z.npz"), "array called train, samples")
    np.save(tmp_path / "line.npy", np.zeros(4))
    refused(lambda: data.file(tmp_path / "line.npy"), "give each sample a row")
    refused(lambda: data.file(tmp_path / "a.txt"), "no file at", FileNotFoundError)
    refused(lambda: data.ImageFiles(["a"], size=(2, 2), labels=[]), "as many as paths")


def test_a_split_is_random_and_whole():
    x = torch.arange(100.0)[:, None]
    cut = data.split("line", x, x[:, 0].long(), held_out=0.3)
    assert (len(cut.train), len(cut.held_out)) == (70, 30)
    assert torch.cat([cut.train, cut.held_out]).sort(0).values.equal(x)
    assert cut.held_out_labels.tolist() == cut.held_out[:, 0].long().tolist()
    assert not torch.equal(cut.held_out, x[70:])
    refused(lambda: data.split("few", x[:3]), "at least 4 samples")


def test_parts_are_not_taken_for_classes(tmp_path):
    """train, val and test had been classes 0, 1 and 2; a class may be called train."""
    for part in ("train", "val", "test"):
        for name in ("a", "b"):
            write_pictures(tmp_path / part / name, 2)
    refused(
        lambda: data.folder(tmp_path, progress=False),
        r"must hold two parts, or classes, got test, train, val; pass .*train, of which a share is held out, or move "
        "all but one of test, val",
    )
    one = data.folder(tmp_path / "train", progress=False)
    assert sorted([*one.train_labels.tolist(), *one.held_out_labels.tolist()]) == [0, 0, 1, 1]
    (tmp_path / "val").rename(tmp_path.parent / f"{tmp_path.name}-val")
    (tmp_path / "notes").mkdir()  # without pictures: it does not count
    assert data.folder(tmp_path, progress=False).train_labels.tolist() == [0, 0, 1, 1]
    (tmp_path / "test").rename(tmp_path / "bus")
    assert data.folder(tmp_path, progress=False).num_classes == 2
    (tmp_path / "bus").rename(tmp_path.parent / f"{tmp_path.name}-bus")
    refused(lambda: data.folder(tmp_path, progress=False), r"got train; pass .*train, of which a share")
