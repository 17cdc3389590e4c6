"""Labels and samples in other people's forms: the same run, or a refusal whose remedy, obeyed, leads to it."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from gan import GAN, losses, networks
from gan.data.sets import check_classes
from metrics.evaluation.classification import check_classes as check_measured

ROWS = np.random.default_rng(0).normal(size=(12, 2)).astype("f4")
CLASSES = np.arange(12) % 3


def trained(data, labels=None):
    """A sample of each class after two steps."""
    generator = networks.mlp_generator(2, latent_dim=4, hidden=(8,), bounded=False, num_classes=3)
    model = GAN(generator, loss=losses.Energy())
    model.fit(data, labels=labels, steps=2, batch_size=6, seed=0, progress=False)
    return model.sample(3, seed=0, labels=[0, 1, 2])


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", ">i4", ">u2"])
def test_whole_numbers_of_every_type_are_classes(dtype):
    for check in (check_classes, check_measured):
        assert torch.equal(check(CLASSES.astype(dtype), 12, "labels"), torch.as_tensor(CLASSES))


@pytest.mark.parametrize("check", [check_classes, check_measured])
def test_a_column_of_labels_keeps_its_numbers(check):
    """The largest entry of a row of one number is the first: .argmax(1) would make class 0 of all."""
    column = torch.as_tensor(CLASSES)[:, None]
    with pytest.raises(ValueError, match=r"drop the last dimension, labels\[:, 0\]"):
        check(column, 12, "labels")
    assert torch.equal(check(column[:, 0], 12, "labels"), torch.as_tensor(CLASSES))
    vectors = torch.eye(3)[CLASSES]
    with pytest.raises(ValueError, match=r"of unit vectors take .argmax\(1\)"):
        check(vectors, 12, "labels")
    assert torch.equal(check(vectors.argmax(1), 12, "labels"), torch.as_tensor(CLASSES))


@pytest.mark.parametrize("check", [check_classes, check_measured])
def test_fractions_are_not_cut_off(check):
    for whole in (torch.as_tensor(CLASSES).float(), torch.as_tensor(CLASSES) > 1):
        with pytest.raises((TypeError, ValueError), match=r"convert with .long\(\)"):
            check(whole, 12, "labels")
    with pytest.raises((TypeError, ValueError), match="give the index of each class"):
        check(torch.as_tensor(CLASSES) / 2, 12, "labels")


def test_columns_of_labels_in_batches_are_refused_with_the_right_step():
    column = torch.as_tensor(CLASSES)[:, None]
    for data in (
        TensorDataset(torch.tensor(ROWS), column),
        DataLoader(TensorDataset(torch.tensor(ROWS), column), 6),
    ):
        with pytest.raises(ValueError, match=r"drop the last dimension, labels\[:, 0\]"):
            trained(data)


def test_masked_labels_and_samples_are_refused():
    hidden = np.arange(12) < 2
    with pytest.raises(ValueError, match="labels must have no masked entries, got 2"):
        trained(ROWS, np.ma.array(CLASSES, mask=hidden))
    with pytest.raises(ValueError, match="data must have no masked entries, got 4"):
        trained(np.ma.array(ROWS, mask=hidden[:, None].repeat(2, 1)), CLASSES)
    assert torch.equal(trained(ROWS, np.ma.array(CLASSES)), trained(ROWS, CLASSES))


def test_a_data_frame_becomes_an_array():
    frame = pd.DataFrame(ROWS)
    with pytest.raises(TypeError, match=r"got DataFrame; pass data.to_numpy\(\)"):
        trained(frame, CLASSES)
    assert torch.equal(trained(frame.to_numpy(), CLASSES), trained(ROWS, CLASSES))


def test_an_array_of_whole_numbers_becomes_floats():
    whole = (9 * ROWS).astype(int)
    with pytest.raises(TypeError, match=r"use .float\(\), of an array torch.as_tensor\(data\).float\(\)"):
        trained(whole, CLASSES)
    assert torch.equal(trained(torch.as_tensor(whole).float(), CLASSES), trained(whole.astype("f4"), CLASSES))
