from itertools import chain

import numpy as np
import pytest
import torch
from scipy import stats
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from bayessgd.loaders import EpochShufflingWarning, IidBatchSampler, iid_loader, warn_if_shuffled


class Squares(Dataset):
    """A dataset that is not tensors."""

    def __len__(self):
        return 7

    def __getitem__(self, i):
        return {"i": i, "square": torch.tensor(float(i * i))}


class Stream(IterableDataset):
    def __iter__(self):
        yield from range(3)


def tensors(n=7):
    return TensorDataset(torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Augmented(TensorDataset):
    """Which shifts every datum by itself, and names what it returns."""

    def __getitem__(self, index):
        return {"x": super().__getitem__(index)[0] + torch.rand(())}


def test_a_dataset_of_ones_own_is_asked_for_one_datum_at_a_time():
    [batch] = iid_loader(Augmented(torch.zeros(9)), batch_size=5, num_batches=1)
    assert len(batch["x"].unique()) == 5


@pytest.mark.parametrize("dataset", [tensors(), Squares()], ids=["tensors", "items"])
def test_batches_are_full_and_repeat_items(dataset):
    batches = list(iid_loader(dataset, batch_size=20, num_batches=3, generator=seeded()))
    assert len(batches) == 3
    for batch in batches:
        index = batch["i"] if isinstance(batch, dict) else batch[1]
        assert index.shape == (20,)  # more than the 7 items: with replacement
        value = batch["square"] if isinstance(batch, dict) else batch[0][:, 0]
        torch.testing.assert_close(value.double(), index.double() ** (2 if isinstance(batch, dict) else 1))


def test_the_fast_path_draws_the_same_batches():
    fast = iid_loader(tensors(), batch_size=4, num_batches=5, generator=seeded())
    slow = DataLoader(
        tensors(), batch_sampler=IidBatchSampler(7, batch_size=4, num_batches=5, generator=seeded())
    )
    for ours, theirs in zip(fast, slow, strict=True):
        assert type(ours) is type(theirs)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_draws_are_uniform_and_independent():
    """χ² tests of the indices, and of the pairs of indices of neighbouring batches, at a level of 1e-4."""
    loader = iid_loader(tensors(), batch_size=10, num_batches=5000, generator=seeded())
    index = torch.stack([y for _, y in loader]).numpy()
    assert stats.chisquare(np.bincount(index.ravel())).pvalue > 1e-4
    pairs = index[0::2] * 7 + index[1::2]
    assert stats.chisquare(np.bincount(pairs.ravel(), minlength=49)).pvalue > 1e-4


def test_goes_on_from_a_saved_generator():
    whole = [y for _, y in iid_loader(tensors(), batch_size=3, num_batches=6, generator=seeded())]
    gen = seeded()
    first = iter(iid_loader(tensors(), batch_size=3, num_batches=6, generator=gen))
    begun = [next(first)[1] for _ in range(2)]
    resumed = torch.Generator()
    resumed.set_state(gen.get_state())
    rest = [y for _, y in iid_loader(tensors(), batch_size=3, num_batches=4, generator=resumed)]
    assert torch.equal(torch.stack(whole), torch.stack(begun + rest))


def test_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    list(iid_loader(tensors(), batch_size=3, num_batches=2, generator=seeded()))
    assert torch.equal(torch.random.get_rng_state(), before)


def loader_with(sampler=None, batch_sampler=None):
    if batch_sampler is not None:
        return DataLoader(tensors(), batch_sampler=batch_sampler)
    return DataLoader(tensors(), batch_size=2, sampler=sampler)


class Wrapper:
    """A batch sampler of another library: it keeps the one it wraps and has no length."""

    def __init__(self, batch_sampler):
        self.batch_sampler = batch_sampler

    def __iter__(self):
        return iter(self.batch_sampler)


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(tensors(), batch_size=2, shuffle=True),
        DataLoader(tensors(), batch_size=2),
        DataLoader(tensors(), batch_size=None, shuffle=True),
        loader_with(DistributedSampler(tensors(), num_replicas=2, rank=0)),
        loader_with(SubsetRandomSampler(range(7))),
        loader_with(WeightedRandomSampler([1.0] * 7, 7, replacement=False)),
        loader_with(batch_sampler=BatchSampler(SequentialSampler(tensors()), 2, drop_last=False)),
        loader_with(batch_sampler=Wrapper(BatchSampler(RandomSampler(tensors()), 2, drop_last=False))),
    ],
    ids=["shuffle", "sequential", "unbatched", "distributed", "subset", "weighted", "batches", "wrapped"],
)
def test_warns_of_draws_without_replacement(loader):
    with pytest.warns(EpochShufflingWarning, match=r"assumes iid batches.*2306\.05300.*iid_loader"):
        assert warn_if_shuffled(loader)


@pytest.mark.parametrize(
    "loader",
    [
        iid_loader(tensors(), batch_size=2, num_batches=9),
        iid_loader(Squares(), batch_size=2, num_batches=9),
        loader_with(RandomSampler(tensors(), replacement=True, num_samples=20)),
        loader_with(WeightedRandomSampler([1.0] * 7, 20, replacement=True)),
        DataLoader(tensors(), batch_size=7, shuffle=True),  # the full gradient has no noise
        DataLoader(Stream()),
    ],
    ids=["iid", "iid-items", "random", "weighted", "full", "stream"],
)
def test_is_quiet_otherwise(loader):
    assert not warn_if_shuffled(loader)


def window_variances(loader, offsets, curvature, *, rate, window):
    """Variances of the averages over consecutive windows of SGD on ½θᵀAθ + bₙ·θ, A diagonal."""
    theta, total, means = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), []
    for step, (index,) in enumerate(loader, start=1):
        theta = theta - rate * (curvature * theta + offsets[index].mean(0))
        total = total + theta
        if step % window == 0:
            means.append(total / window)
            total = torch.zeros_like(total)
    return torch.stack(means)[10:].var(0)  # the first windows forget the start


@pytest.mark.parametrize("windows", [250, pytest.param(700, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("unchecked")
def test_shuffling_by_epoch_collapses_iterate_averages(windows):
    """N = 1000, S = 50, ε = 0.5, windows of T = N/S: the samples of iterate averaging, C = A.

    Per coordinate θ is an AR(1) with ρ = 1 − εa and noise variance ε²c/S, so that the average of T iterates
    has variance (γ₀/T²)(T + 2Σ_{k<T}(T − k)ρ^k), γ₀ = (ε²c/S)/(1 − ρ²). Windows are nearly independent: each
    one overlaps the memory 1/(εa) ≤ 4 of 20 steps, and the standard error of a variance over n of them is at
    most √(2/n)·√(1 + 2·0.2²).
    """
    n, s, rate = 1000, 50, 0.5
    curvature = torch.tensor([1.0, 0.5], dtype=torch.float64)
    offsets = torch.randn(n, 2, generator=seeded(1), dtype=torch.float64)
    offsets = (offsets - offsets.mean(0)) / offsets.std(0, correction=0) * curvature.sqrt()
    window = n // s
    index = TensorDataset(torch.arange(n))

    iid = iid_loader(index, batch_size=s, num_batches=window * windows, generator=seeded(2))
    iid_variance = window_variances(iid, offsets, curvature, rate=rate, window=window)
    rho = 1 - rate * curvature
    k = torch.arange(1, window, dtype=torch.float64)[:, None]
    gamma0 = rate**2 * curvature / s / (1 - rho**2)
    expected = gamma0 / window**2 * (window + 2 * ((window - k) * rho**k).sum(0))
    assert bool(((iid_variance / expected - 1).abs() < 5 * (2 / windows) ** 0.5 * 1.04).all())

    # DataLoader(shuffle=True) with a gather per batch.
    epoch_sampler = BatchSampler(RandomSampler(index, generator=seeded(3)), s, drop_last=False)
    epochs = DataLoader(index, sampler=epoch_sampler, batch_size=None)
    shuffled = chain.from_iterable(epochs for _ in range(windows))
    ratio = window_variances(shuffled, offsets, curvature, rate=rate, window=window) / iid_variance
    assert float(ratio.max()) < 0.2
    assert bool((iid_variance * n * curvature > 0.6).all())  # iid windows nearly are the posterior, 1/(N·a)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"dataset": Stream()}, TypeError, "dataset must have a length and indices, got Stream"),
        ({"dataset": 5}, TypeError, "dataset must have a length and indices, got int"),
        ({"dataset": TensorDataset(torch.zeros(0))}, ValueError, "dataset must not be empty"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"num_batches": 2.0}, TypeError, "num_batches must be an int, got float"),
        ({"generator": 3}, TypeError, "generator must be a torch.Generator or None, got int"),
    ],
)
def test_refusals(arguments, error, match):
    with pytest.raises(error, match=match):
        iid_loader(**({"dataset": tensors(), "batch_size": 2, "num_batches": 3} | arguments))


def test_refuses_what_is_not_a_loader():
    with pytest.raises(TypeError, match="loader must be a torch DataLoader, got list"):
        warn_if_shuffled([1, 2])
