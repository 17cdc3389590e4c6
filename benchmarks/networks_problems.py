"""The problems of `networks.py`: a network, its data, likelihood and prior, and a rhythm of SGD that trains it.

- *digits*: scikit-learn's 8 × 8 digits without the nines, 20 principal components, 10 tanh units: D = 309, N = 970.
- *diabetes*: scikit-learn's, 10 features, 10 tanh units and a learned noise: D = 122, N = 354.
- *mnist*: LeNet-5 on 10 000 or 60 000 images of MNIST, D = 61 706.

The first two are small enough for NUTS, whose draws are kept in a cache.
"""

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor, nn
from uci_data import SETS, load, split, splits, validation

from bayessgd.likelihoods import Categorical, GaussianLogScale, LearnedScale, Likelihood
from bayessgd.priors import GaussianPrior

__all__ = ["Problem", "diabetes", "digits", "lenet", "mnist", "uci"]


@dataclass(frozen=True)
class Problem:
    """A Bayesian network and how SGD trains it.

    Attributes:
        name: For tables.
        make: Makes the network.
        x, y: Training data.
        test_x, test_y: Test data.
        held_x, held_y: Data that are neither trained on nor tested on, for `calibrate(held_out=)`.
        likelihood: From the output to the distribution of the target.
        precision: Of the Gaussian prior.
        rate, batch: SGD's learning rate, with momentum .9, and S.
        passes: Over the data, of the training; `wander` more at a constant rate, with `snapshots` collected.
        outside: Inputs of another kind, by name.
    """

    name: str
    make: Callable[[], nn.Module]
    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor
    held_x: Tensor
    held_y: Tensor
    likelihood: Likelihood
    precision: float
    rate: float
    batch: int
    passes: float
    wander: float
    snapshots: int
    outside: dict[str, Tensor] = field(default_factory=dict)

    @property
    def laws(self) -> dict:
        """Likelihood and prior, as keywords."""
        return {"likelihood": self.likelihood, "prior": GaussianPrior(self.precision)}

    def steps(self, passes: float) -> int:
        """Return how many batches so many passes are."""
        return max(1, round(passes * len(self.x) / self.batch))


def digits() -> Problem:
    """The digits without the nines, which are strangers, as are test digits turned by 90°."""
    images, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    order = np.random.RandomState(0).permutation(len(labels))
    images, labels = images[order].reshape(-1, 8, 8) / 16, labels[order]
    seen = labels < 9
    first = int(0.6 * seen.sum())
    known, names = images[seen], labels[seen]
    flat = known[:first].reshape(first, -1)
    centre = flat.mean(0)
    _, spread, axes = np.linalg.svd(flat - centre, full_matrices=False)

    def project(pictures: np.ndarray) -> Tensor:
        scores = (pictures.reshape(len(pictures), -1) - centre) @ axes[:20].T
        return torch.as_tensor(scores / (spread[:20] / np.sqrt(first)) / 2).float()

    x, y = project(known), torch.as_tensor(names)
    # Half of what is not trained on is tested on; the rest is held out for the choice of a width.
    half = first + (len(y) - first) // 2
    turned = project(np.rot90(known[half:], axes=(1, 2)).copy())
    return Problem(
        "digits",
        lambda: nn.Sequential(nn.Linear(20, 10), nn.Tanh(), nn.Linear(10, 9)),
        x[:first],
        y[:first],
        x[half:],
        y[half:],
        x[first:half],
        y[first:half],
        Categorical(),
        precision=1.0,
        rate=0.2,
        batch=64,
        passes=132,
        wander=48,
        snapshots=40,
        outside={"nines": project(images[~seen]), "turned": turned},
    )


def diabetes() -> Problem:
    """The notebook's regression; a third of what is not trained on is held out for the choice of a width."""
    features, target = load_diabetes(return_X_y=True)
    order = np.random.RandomState(1).permutation(len(target))
    held = len(target) // 5
    train, rest = order[held:], order[:held]

    def standardised(values: np.ndarray) -> Tensor:
        values = values.reshape(len(values), -1)
        return torch.as_tensor((values - values[train].mean(0)) / values[train].std(0)).float()

    x, y = standardised(features), standardised(target)  # pyright: ignore[reportArgumentType]
    width, test = rest[: held // 3], rest[held // 3 :]
    return Problem(
        "diabetes",
        lambda: LearnedScale(nn.Sequential(nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 1)), scale=0.7),
        x[train],
        y[train],
        x[test],
        y[test],
        x[width],
        y[width],
        GaussianLogScale(),
        precision=1.0,
        rate=2e-2,
        batch=32,
        passes=271,
        wander=48,
        snapshots=40,
    )


def uci(name: str, index: int, folder: Path) -> Problem:
    """One split of a UCI regression: 50 ReLUs and a learned noise; a tenth of its training part is held out."""
    features, target = load(name, folder)
    train, test = splits(len(target), SETS[name].num_splits)[index]
    rest, width = validation(train)
    some = split(features, target, rest, np.concatenate([width, test]), clip=SETS[name].clip)
    inputs, steps = some.x.shape[1], 6000
    return Problem(
        f"{name} {index}",
        lambda: LearnedScale(nn.Sequential(nn.Linear(inputs, 50), nn.ReLU(), nn.Linear(50, 1)), scale=0.7),
        some.x,
        some.y,
        some.x_test[len(width) :],
        some.y_test[len(width) :],
        some.x_test[: len(width)],
        some.y_test[: len(width)],
        GaussianLogScale(),
        precision=1.0,
        rate=5e-4,
        batch=64,
        passes=steps * 64 / len(some.x),
        wander=steps / 2 * 64 / len(some.x),
        snapshots=40,
    )


def lenet() -> nn.Module:
    """LeNet-5 with ReLU and max pooling: 61 706 weights."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def mnist(folder: Path, *, count: int, decay: float = 5e-4) -> Problem:
    """MNIST: the first images of the training set, 2000 more for the width (of 60 000, the last of them).

    The prior's precision is N times a weight decay, by default the customary 5e-4.
    """
    images, labels = _idx(folder, "train")
    test, names = _idx(folder, "t10k")
    some = test[torch.arange(0, len(test), 5)]  # MNIST's first test images are no random part
    many = count == len(images)
    train = slice(0, count - 2000 if many else count)
    width = slice(count - 2000, count) if many else slice(count, count + 2000)
    return Problem(
        f"mnist {count:,}",
        lenet,
        images[train],
        labels[train],
        test,
        names,
        images[width],
        labels[width],
        Categorical(),
        precision=decay * (train.stop - train.start),
        rate=0.0125,
        batch=64,
        passes=6 if many else 15,
        wander=4 if many else 8,
        snapshots=40,
        outside={"rotated": some.rot90(1, (2, 3)), "negative": some.amin() + some.amax() - some},
    )


def _idx(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """Read one of MNIST's pairs of IDX files: images [n, 1, 28, 28] of mean 0 and deviation 1, labels [n]."""
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return (torch.tensor(images).float() / 255 - 0.1307) / 0.3081, torch.tensor(labels).long()
