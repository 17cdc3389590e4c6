"""What people have in place of tensors: the same numbers, or a refusal whose remedy, obeyed, leads to them."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import cdist
from torch.utils.data import TensorDataset

import metrics
from metrics.features import read_source
from metrics.inputs import check_cloud

MEASURE = [m for m in metrics.standard_measures() if m.rows[0].name == "energy_distance"]


@pytest.fixture
def clouds():
    random = np.random.default_rng(0)
    return random.normal(size=(30, 3)), random.normal(size=(25, 3)) + 1


def energy(x, y):
    """√(2E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖) in numpy."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    return (2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()) ** 0.5


def evaluated(samples, reference):
    report = metrics.evaluate(samples, reference, measures=MEASURE, permutations=0, splits=2, progress=False)
    return report["energy_distance"].value


STEP = re.compile(r"((?:numpy|torch)\.[\w.]+\(.*samples.*?\)\)?|samples\.\w+\(.*?\)\]?)(?=,|$)")


def obeyed(samples, reference):
    """The measure after the remedy that a refusal names was followed, once or twice."""
    told = ""
    for _ in range(3):
        try:
            return evaluated(samples, reference)
        except (TypeError, ValueError) as refusal:
            told = str(refusal)
        step = STEP.search(told)[1]
        known = {"samples": samples, "numpy": np, "torch": torch}
        if step.endswith((".float()", ".double()")) and not isinstance(samples, torch.Tensor):
            known["samples"] = torch.as_tensor(samples)  # as the refusal says
        samples = eval(step, known)
    raise AssertionError(told)


def fields(x):
    return np.array([tuple(row) for row in x], dtype=[("a", "f8"), ("b", "f8"), ("c", "f8")])


@pytest.mark.parametrize(
    "change",
    [
        fields,
        lambda x: fields(x).view(np.recarray),
        lambda x: x.astype(object),
        lambda x: x.astype(str),
        lambda x: x.astype(np.longdouble),
        lambda x: x.astype(np.float32),
        pd.DataFrame,
        lambda x: pd.DataFrame(x).astype(object),
        list,
        lambda x: tuple(torch.tensor(x)),
    ],
)
def test_the_remedy_leads_to_the_same_numbers(clouds, change):
    x, y = clouds
    with pytest.raises((TypeError, ValueError), match=r"^samples (and reference )?must"):
        evaluated(change(x), y)
    # One change goes through float32.
    assert obeyed(change(x), y) == pytest.approx(energy(x, y), rel=1e-6)


def test_whole_numbers_are_refused_and_as_floats_they_are_right(clouds):
    x, y = ((9 * cloud).astype(int) for cloud in clouds)
    with pytest.raises(TypeError, match=r"samples must be floats, or uint8 for pictures, got torch.int64"):
        evaluated(x, y.astype(float))
    # .float() of one leaves the other in float64, which the next refusal mends.
    assert obeyed(x, y.astype(float)) == pytest.approx(energy(x, y), rel=1e-6)


def test_what_a_mask_hides_is_no_data(clouds):
    x, y = clouds
    masked = np.ma.array(x.copy(), mask=x > 1.5)
    masked.data[x > 1.5] = -999
    with pytest.raises(ValueError, match=f"samples must have no masked entries, got {(x > 1.5).sum()}; "):
        evaluated(masked, y)
    assert obeyed(masked, y) == pytest.approx(energy(x[(x <= 1.5).all(1)], y), rel=1e-12)
    assert evaluated(np.ma.array(x), y) == pytest.approx(energy(x, y), rel=1e-12)


def test_imaginary_parts_are_not_dropped(clouds, tmp_path):
    x, y = clouds
    z = x + 1j * x[::-1]
    with pytest.raises(TypeError, match=r"samples must be real, got torch.complex128; pass both parts"):
        evaluated(z, z)
    step = torch.view_as_real(torch.as_tensor(z)).flatten(1)
    other = torch.as_tensor(np.c_[y, y[::-1]])
    parts = np.stack([z.real, z.imag], -1).reshape(30, 6)
    assert evaluated(step, other) == pytest.approx(energy(parts, other), rel=1e-12)
    np.save(tmp_path / "z.npy", z)
    with pytest.raises(TypeError, match="source must be real"):
        metrics.features.features_of(tmp_path / "z.npy")
    with pytest.raises(TypeError, match=r"view_as_real"):
        check_cloud(torch.as_tensor(z), "x")


def test_single_samples_are_no_batches(clouds):
    x, y = clouds
    for source in (list(x), (row for row in x), (x, np.zeros(30))):
        with pytest.raises(ValueError, match=r"samples must give batches \[n, ...\], got one of shape"):
            evaluated(source, y)
    with pytest.raises(TypeError, match=r"samples must be one source, got a dict of 'x'; pass one of them"):
        evaluated({"x": x}, y)
    for batches in ([x, x[:, :2]], [x, x.astype("f4")], [x, np.zeros((5, 3), np.uint8)]):
        with pytest.raises(ValueError, match="source must give batches of one shape and type, got samples"):
            read_source(batches)


def test_a_dataset_is_a_source(clouds):
    x, y = clouds
    labelled = TensorDataset(torch.tensor(x), torch.arange(30))
    assert evaluated(labelled, y) == pytest.approx(energy(x, y), rel=1e-12)


def test_a_list_of_pictures_is_made_an_array():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (2, 30, 4, 4), dtype=np.uint8)
    pictures = [Image.fromarray(one) for one in pixels[0]]
    with pytest.raises(TypeError, match=r"numpy.stack\(\[numpy.asarray\(one\) for one in samples\]\)"):
        evaluated(pictures, pixels[1].reshape(30, 16))
    made = np.stack([np.asarray(one) for one in pictures])[:, None]
    assert evaluated(made, pixels[1][:, None]) == pytest.approx(energy(*pixels.reshape(2, 30, 16)), rel=1e-12)


def test_pixels_meet_their_own(tmp_path):
    random = np.random.default_rng(0)
    first = random.integers(0, 256, (2, 30, 3, 4, 5), dtype=np.uint8)
    last = first.transpose(0, 1, 3, 4, 2)
    right = energy(*first.reshape(2, 30, 60))
    with pytest.raises(
        ValueError, match=r"pictures of one shape, got \[4, 5, 3\] and \[3, 4, 5\]; move the channels"
    ):
        evaluated(last[0], first[1])
    moved = torch.as_tensor(np.ascontiguousarray(last[0])).permute(0, 3, 1, 2)
    assert evaluated(moved, first[1]) == pytest.approx(right, rel=1e-12)
    # A file's are moved, as gan.data.file moves them.
    np.save(tmp_path / "last.npy", last[0])
    assert evaluated(tmp_path / "last.npy", first[1]) == pytest.approx(right, rel=1e-12)
    np.save(tmp_path / "flat.npy", first[0, :, 0])
    with pytest.raises(
        ValueError, match=r"got array \[30, 4, 5\]; save it with the dimension that is missing"
    ):
        read_source(tmp_path / "flat.npy")


def test_an_array_of_fields_in_a_file_is_refused_in_words(clouds, tmp_path):
    np.save(tmp_path / "fields.npy", fields(clouds[0]))
    with pytest.raises(
        ValueError, match=r"must be an array of plain numbers, got .*numpy.array\(array.tolist"
    ):
        read_source(tmp_path / "fields.npy")
