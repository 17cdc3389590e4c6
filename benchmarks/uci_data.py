"""The nine regressions of the UCI benchmark, with the splits that every paper uses.

Hernández-Lobato & Adams (2015) drew 20 splits into 90 % and 10 % (5 for protein), and later papers kept them. They
come from one legacy generator of numpy's, so that `splits` makes the same ones anew.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

__all__ = ["SETS", "Split", "UCISet", "data_folder", "load", "split", "splits", "validation"]


@dataclass(frozen=True)
class UCISet:
    """Where a set lies, how to cut its table into inputs and target, and how its papers treat it.

    Standardised inputs are cut at ±clip: one of protein's lies 54 deviations out, where log σ, linear in it, explodes.
    """

    file: str
    read: Callable[[Path], np.ndarray]
    inputs: slice
    target: int
    num_splits: int = 20
    hidden: int = 50
    clip: float = math.inf


def _spaces(path: Path) -> np.ndarray:
    return np.loadtxt(path)


def _semicolons(path: Path) -> np.ndarray:
    return np.genfromtxt(path, delimiter=";", skip_header=1)


def _commas(path: Path) -> np.ndarray:
    return np.loadtxt(path, delimiter=",", skiprows=1)


ALL_BUT_LAST = slice(None, -1)
SETS = {
    "yacht": UCISet("uci/yacht.txt.gz", _spaces, ALL_BUT_LAST, -1),
    "boston": UCISet("uci/bostonHousing.txt.gz", _spaces, ALL_BUT_LAST, -1),
    "energy": UCISet("uci/energy.txt.gz", _spaces, ALL_BUT_LAST, -1),
    "concrete": UCISet("uci/concrete.txt.gz", _spaces, ALL_BUT_LAST, -1),
    "wine": UCISet("wine/winequality-red.csv.gz", _semicolons, slice(0, 11), 11),
    "power-plant": UCISet("uci/power-plant.txt.gz", _spaces, ALL_BUT_LAST, -1),
    "kin8nm": UCISet("uci/kin8nm.txt.gz", _spaces, ALL_BUT_LAST, -1),
    "naval": UCISet("uci/naval-propulsion-plant.txt.gz", _spaces, slice(0, 16), 16),
    "protein": UCISet("protein/CASP.csv.gz", _commas, slice(1, None), 0, num_splits=5, hidden=100, clip=5.0),
}
"""By name, in the order in which they are run: the small ones first. The wine of the papers is the red one."""


@dataclass(frozen=True)
class Split:
    """Inputs and targets `[n, d]`, `[n, 1]` standardised by the training part, and the target's deviation there."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    std: float


def data_folder(given: Path | None) -> Path:
    """Return the folder of the data, from the command line or BAYESSGD_DATA.

    Raises:
        FileNotFoundError: Neither is given, or it is not there.
    """
    folder = given or (Path(os.environ["BAYESSGD_DATA"]) if os.environ.get("BAYESSGD_DATA") else None)
    if folder is None or not folder.is_dir():
        raise FileNotFoundError(
            f"the folder of the data must exist, got {folder}; pass --data-dir or set BAYESSGD_DATA to a folder with "
            "uci/, wine/ and protein/ in it"
        )
    return folder


def load(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs [n, d] and targets [n] in their own units.

    Raises:
        FileNotFoundError: The set is not in the folder.
    """
    known = SETS[name]
    path = folder / known.file
    if not path.is_file():
        raise FileNotFoundError(f"{name} must be at {path}, which is not there; see --data-dir")
    table = known.read(path)
    return table[:, known.inputs], table[:, known.target]


def splits(n: int, count: int = 20) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the benchmark's splits of n data: indices of training and test."""
    random = np.random.RandomState(1)
    k = int(n * 0.9 + 0.5)
    orders = (random.choice(n, n, replace=False) for _ in range(count))
    return [(order[:k], order[k:]) for order in orders]


def split(
    x: np.ndarray,
    y: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    *,
    clip: float = math.inf,
    whiten: bool = False,
) -> Split:
    """Standardise by the training part, or whiten by it, and cut inputs at ±clip; a constant feature becomes zero."""
    centre, width = x[train].mean(0), x[train].std(0)
    width = np.where(width > 1e-12 * np.abs(centre), width, 1.0)
    mean, std = float(y[train].mean()), float(y[train].std())
    axes = _whitening((x[train] - centre) / width) if whiten else np.eye(x.shape[1])

    def inputs(rows: np.ndarray) -> Tensor:
        return torch.from_numpy(((x[rows] - centre) / width @ axes).clip(-clip, clip)).float()

    def targets(rows: np.ndarray) -> Tensor:
        return torch.from_numpy((y[rows] - mean) / std).float()[:, None]

    return Split(inputs(train), targets(train), inputs(test), targets(test), std)


def _whitening(z: np.ndarray) -> np.ndarray:
    """Return W `[d, r]` with zW uncorrelated of variance one, z centred `[n, d]` of rank r.

    W = √n V S⁻¹ of z = U S Vᵀ. Directions whose deviation is below 1e-6 of the largest are constant but for rounding.
    """
    _, lengths, directions = np.linalg.svd(z, full_matrices=False)
    known = lengths > 1e-6 * lengths[0]
    return directions[known].T * (len(z) ** 0.5 / lengths[known])


def validation(train: np.ndarray, share: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Return a training part and a validation part of a split's training data, which is in random order already."""
    k = int(len(train) * (1 - share))
    return train[:k], train[k:]
