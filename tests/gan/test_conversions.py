"""Samples and classes that become other types: to the same numbers, or refused; nothing is cut off in silence."""

import numpy as np
import pytest
import torch
from PIL import Image

from gan import GAN, data, losses, networks
from gan.data import ImageFiles

pytestmark = pytest.mark.usefixtures("unchecked")


class Rows:
    """A dataset of Hugging Face to those who look at length and items."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


@pytest.fixture
def files(tmp_path):
    random, found = np.random.default_rng(0), []
    for i in range(8):
        found.append(tmp_path / f"{i}.png")
        Image.fromarray(random.integers(0, 256, (4, 4), dtype=np.uint8)).save(found[-1])
    return found


def trained(samples):
    generator = networks.mlp_generator(2, latent_dim=4, hidden=(8,), bounded=False)
    return GAN(generator, loss=losses.Energy()).fit(samples, steps=2, batch_size=8, seed=0, progress=False)


def test_what_lies_far_from_the_origin_keeps_its_differences(tmp_path):
    """At 1e8 neighbours in float32 are 8 apart: a cloud of spread 1 had become a few points."""
    x = np.random.default_rng(0).normal(size=(60, 2))
    for offset in (1e8, np.array([1e9, 0.0])):
        told = r"must keep their differences in torch.float32, got numbers up to 1e\+0. that spread by 1"
        with pytest.raises(ValueError, match=f"data {told}.* subtract their mean first"):
            trained(x + offset)
        np.save(tmp_path / "far.npy", x + offset)
        with pytest.raises(ValueError, match=f"samples {told}"):
            data.file(tmp_path / "far.npy")
    far = x + 1e8
    near = trained(far - far.mean(0)).sample(5, seed=0)
    # The points themselves are known to 1e-8 at this distance.
    torch.testing.assert_close(near, trained(x - x.mean(0)).sample(5, seed=0), rtol=0, atol=1e-5)
    # Constants, which rounding lets spread by 1e-17, and a thousandth of rounding are no loss.
    trained(np.full((60, 2), 0.1))
    trained(x + 1e4)


def test_pictures_of_16_bits_in_a_file_become_bytes_as_the_refusal_says(tmp_path):
    array = np.array([0, 128, 129, 257, 65407, 65535], dtype=np.uint16).repeat(4).reshape(6, 1, 2, 2)
    np.save(tmp_path / "deep.npy", array)
    with pytest.raises(ValueError, match=r"save \(\(array \+ 128.0\) // 257\).astype\('uint8'\)"):
        data.file(tmp_path / "deep.npy")
    made = ((array + 128.0) // 257).astype("uint8")
    assert np.array_equal(made, np.rint(array / 257).astype("uint8"))
    np.save(tmp_path / "bytes.npy", made)
    assert data.file(tmp_path / "bytes.npy").train.dtype == torch.uint8


def test_classes_of_pictures_are_not_cut_off(files):
    rows = [{"image": Image.open(path), "label": i} for i, path in enumerate(files)]
    for labels, kind, told in (
        ([i / 2 for i in range(8)], ValueError, "give the index of each class"),
        (list("abababab"), TypeError, "numpy.unique"),
    ):
        with pytest.raises(kind, match=f"labels must be whole numbers.*{told}"):
            ImageFiles(files, size=(4, 4), labels=labels)
        named = [row | {"label": label} for row, label in zip(rows, labels, strict=True)]
        with pytest.raises(kind, match=f"label must be whole numbers.*{told}"):
            data.hugging_face(Rows(named))
    assert ImageFiles(files, size=(4, 4), labels=np.arange(8, dtype=np.uint16))[5][1] == 5
    truths = data.hugging_face(Rows([row | {"label": bool(row["label"] % 2)} for row in rows]))
    assert sorted([*truths.train_labels.tolist(), *truths.held_out_labels.tolist()]) == [0] * 4 + [1] * 4


def test_what_holds_no_pictures_is_refused_by_name(files):
    with pytest.raises(TypeError, match=r"paths must be files, got the path .*find_images"):
        ImageFiles(files[0].parent, size=(4, 4))
    arrays = [{"image": np.asarray(Image.open(path))} for path in files]
    with pytest.raises(
        TypeError, match=r"image must be pictures of PIL, got ndarray in row 0; .*with_format"
    ):
        data.hugging_face(Rows(arrays))
    with pytest.raises(ValueError, match="dataset must hold pictures, got no row"):
        data.hugging_face(Rows([]))
    with pytest.raises(TypeError, match="samples must be a tensor or an array, got list"):
        data.split("rows", [[0.0], [1.0], [2.0], [3.0]])
