"""Batches as the theory wants them: drawn independently, with replacement.

The theory of SGD as a sampler (Mandt, Hoffman & Blei 2017) takes the gradient noises of different steps to be
independent: each batch of S indices is uniform on {0, …, N − 1}^S, and the noise of a gradient has covariance
C/S. A loader that shuffles by epoch draws without replacement. Its N/S gradients of one epoch sum to the full
gradient, so that their noises cancel: the noise is anti-correlated over the epoch, and along every direction
that SGD needs more than an epoch to forget the stationary variance collapses (Kühn & Rosenow 2023, arXiv
2306.05300). Averages over an epoch, the samples of iterate averaging, lose nearly all of theirs. Training may
well like that; a posterior does not.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from metrics.inputs import check_count, check_generator

__all__ = ["EpochShufflingWarning", "IidBatchSampler", "iid_loader", "warn_if_shuffled"]


class EpochShufflingWarning(UserWarning):
    """Batches without replacement reach something whose theory assumes iid batches."""


class IidBatchSampler(Sampler[list[int]]):
    """Batches of indices, uniform and with replacement, for `DataLoader(batch_sampler=...)`.

    One draw of the generator per batch, made when the batch is asked for: with a generator whose state is
    saved between two batches, a run goes on with the same batches (with `num_workers=0`, as workers fetch
    ahead). torch's RandomSampler(replacement=True) draws by 32 indices and knows no such moment.

    Args:
        num_data: N.
        batch_size: S, which may exceed N.
        num_batches: Batches per pass over the loader.
        generator: Source of the indices, on the CPU; `None` is torch's default generator.

    Raises:
        TypeError, ValueError: If a count is not a whole number of at least 1.

    >>> sampler = IidBatchSampler(5, batch_size=3, num_batches=2, generator=torch.Generator().manual_seed(0))
    >>> list(sampler)
    [[4, 4, 3], [0, 3, 4]]
    """

    def __init__(
        self, num_data: int, *, batch_size: int, num_batches: int, generator: torch.Generator | None = None
    ) -> None:
        self.num_data = check_count(num_data, "num_data")
        self.batch_size = check_count(batch_size, "batch_size")
        self.num_batches = check_count(num_batches, "num_batches")
        self.generator = check_generator(generator)

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(self.num_batches):
            yield torch.randint(self.num_data, (self.batch_size,), generator=self.generator).tolist()

    def __len__(self) -> int:
        return self.num_batches


class _IidTensorBatches(IidBatchSampler):
    """The same draws as index tensors, with which a TensorDataset is read in one gather per batch."""

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.num_batches):
            yield torch.randint(self.num_data, (self.batch_size,), generator=self.generator)


def iid_loader(
    dataset: Dataset[Any], *, batch_size: int, num_batches: int, generator: torch.Generator | None = None
) -> DataLoader[Any]:
    """Return a DataLoader whose batches are drawn with replacement, as the theory assumes.

    A `TensorDataset` is read with one gather per batch. For workers, a `collate_fn` or pinned memory write
    `DataLoader(dataset, batch_sampler=bayessgd.loaders.IidBatchSampler(...), ...)`; whether a loader of your own
    shuffles by epoch says `bayessgd.loaders.warn_if_shuffled`. For `Chains` draw batches of chains·S and
    `unflatten(0, (chains, -1))` them: iid draws stay iid. Under DDP give every rank a generator of its own seed.

    Args:
        dataset: A map-style dataset of N items.
        batch_size: S; every batch is full.
        num_batches: The length of the loader; there is no epoch.
        generator: Source of the indices, on the CPU; `None` is torch's default generator.

    Raises:
        TypeError: A dataset without a length.
        ValueError: An empty dataset or a count below 1.

    >>> from torch.utils.data import TensorDataset
    >>> data = TensorDataset(torch.arange(5.0)[:, None], torch.arange(5))
    >>> loader = iid_loader(data, batch_size=3, num_batches=2, generator=torch.Generator().manual_seed(0))
    >>> [y.tolist() for x, y in loader]
    [[4, 4, 3], [0, 3, 4]]
    """
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise TypeError(
            f"dataset must have a length and indices, got {type(dataset).__name__}; a stream cannot be drawn "
            "from with replacement: load it into a map-style dataset"
        )
    num_data = len(dataset)  # pyright: ignore[reportArgumentType]  # torch's Dataset declares none
    if num_data == 0:
        raise ValueError("dataset must not be empty, got length 0")
    tensors = type(dataset) is TensorDataset  # a subclass may do anything with one index
    kind = _IidTensorBatches if tensors else IidBatchSampler
    batches = kind(num_data, batch_size=batch_size, num_batches=num_batches, generator=generator)
    # At every pass the loader draws a seed for workers; from here, so that no other generator moves.
    own = torch.Generator().manual_seed(0)
    if tensors:
        return DataLoader(dataset, sampler=batches, batch_size=None, collate_fn=list, generator=own)
    return DataLoader(dataset, batch_sampler=batches, generator=own)


def warn_if_shuffled(loader: DataLoader[Any], *, stacklevel: int = 2) -> bool:
    """Warn if a DataLoader draws without replacement, and return whether it does.

    Found are torch's samplers that visit each item once per epoch (sequential, random, subset, weighted
    without replacement, distributed), also inside batch samplers that keep theirs as `.sampler` or
    `.batch_sampler`. A sampler of another kind is believed; so is a loader of one batch per epoch, whose
    gradient has no noise.

    Args:
        loader: A DataLoader.
        stacklevel: As in `warnings.warn`.

    Warns:
        EpochShufflingWarning: Naming the sampler and `iid_loader`.

    Raises:
        TypeError: If it is not a DataLoader.

    Reference: Kühn & Rosenow 2023, arXiv 2306.05300.

    >>> from torch.utils.data import TensorDataset
    >>> data = TensorDataset(torch.arange(5.0))
    >>> warn_if_shuffled(iid_loader(data, batch_size=2, num_batches=10))
    False
    """
    if not isinstance(loader, DataLoader):
        raise TypeError(f"loader must be a torch DataLoader, got {type(loader).__name__}")
    sampler = _without_replacement(loader.sampler if loader.batch_sampler is None else loader.batch_sampler)
    if sampler is None or _is_one_batch(loader):
        return False
    warnings.warn(
        f"the loader's {type(sampler).__name__} draws each epoch without replacement, but the theory "
        "assumes iid batches: noise that cancels within an epoch shrinks the stationary variance (Kühn & "
        "Rosenow 2023, arXiv 2306.05300); use iid_loader(dataset, batch_size=..., num_batches=...)",
        EpochShufflingWarning,
        stacklevel=stacklevel,
    )
    return True


def _is_one_batch(loader: DataLoader[Any]) -> bool:
    try:
        return len(loader) == 1
    except TypeError:  # a batch sampler of the user's own need not have a length
        return False


def _without_replacement(sampler: object) -> object | None:
    """Return the innermost sampler if it is known to visit each item at most once per epoch."""
    for name in ("sampler", "batch_sampler"):
        if hasattr(sampler, name):
            return _without_replacement(getattr(sampler, name))
    if isinstance(sampler, RandomSampler | WeightedRandomSampler):
        return None if sampler.replacement else sampler
    if isinstance(sampler, SequentialSampler | SubsetRandomSampler | DistributedSampler):
        return sampler
    return None
