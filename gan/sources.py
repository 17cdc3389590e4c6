"""Where batches come from: a tensor, a map-style dataset, or somebody's loader, as one small interface.

A *tensor* lies on the device, whole, and a batch is drawn with replacement by the run's own generator. Of a
*dataset* the run draws the indices: batch k of a run is a function of its seed and k alone, so that workers may read
ahead and a run that was stopped goes on to the same bits (randomness inside the dataset is not the run's: augment in
`GAN.fit`). A *loader* has an order of its own, which nobody can go back to: a run that goes on begins a new pass.

Bytes are pictures, 0 … 255 for [−1, 1], and are scaled as a batch is drawn. Other numbers become the generator's type.
"""

import logging
from collections.abc import Iterable, Iterator
from os import PathLike
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from gan.batches import Batch, check_batch, check_samples, no_batch, pair_of
from gan.data.sets import Data, check_classes, converted, looks_like_bytes
from gan.distributed import part_of
from gan.seeds import stream
from metrics.features import fingerprint
from metrics.inputs import SupportsDLPack, from_array

__all__ = ["Source", "as_source"]

logger = logging.getLogger("gan")

PROBED = 16
"""Samples of a dataset that tell it from another."""


@runtime_checkable
class Source(Protocol):
    """What the loop draws real samples from."""

    def draw(self, count: int, number: int, random: torch.Generator) -> Batch:
        """Return this process's part of batch `number` of the run, of `count` samples in all, and its classes."""
        ...

    def fingerprint(self) -> str:
        """What tells these data from others, for a checkpoint."""
        ...

    def example(self) -> Batch:
        """A batch of two, for a look at shapes."""
        ...

    def scale(self) -> float:
        """The root of the samples' total variance, of a thousand of them where there are more."""
        ...

    def class_counts(self) -> Tensor | None:
        """How many samples each class has; None where there are no classes or nobody counted."""
        ...

    def points(self, most: int) -> Batch:
        """Return all samples and their classes, or at most so many, evenly spaced; a loader refuses."""
        ...


def as_source(
    data: object,
    labels: object,
    *,
    device: torch.device,
    dtype: torch.dtype,
    seed: int,
    workers: int,
    classes: int = 0,
) -> Source:
    """Return the source for what `GAN.fit` was given.

    Args:
        data: `Data`, a tensor or array `[n, ...]`, a map-style `Dataset`, or a `DataLoader` (any iterable of batches).
        labels: Classes `[n]` beside a tensor; None otherwise.
        device: Where batches go.
        dtype: The type of the batches.
        seed: The run's seed.
        workers: Processes that read a dataset.
        classes: The generator's classes, which no label of a batch may reach; 0 where labels are not looked at.
    """
    if isinstance(data, Data):
        data, labels = data.train, data.train_labels if labels is None else labels
    # A data frame has a length and items too, its columns: it is refused as no array.
    if isinstance(data, SupportsDLPack | Tensor) or hasattr(data, "to_numpy"):
        return _InMemory(from_array(data, "data"), labels, device, dtype)
    if labels is not None:
        raise ValueError(
            "labels go with a tensor; a dataset or a loader gives pairs (samples, labels) itself"
        )
    if isinstance(data, IterableDataset):
        raise TypeError(
            "data must have a length and indices, got an IterableDataset; pass DataLoader(data, batch_size)"
        )
    if isinstance(data, DataLoader) or (isinstance(data, Iterable) and not hasattr(data, "__getitem__")):
        return _Loader(data, device, dtype, classes)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str | dict | list):
        return _MapStyle(data, device, dtype, seed=seed, workers=workers, classes=classes)  # pyright: ignore[reportArgumentType]
    if isinstance(data, str | PathLike):
        raise TypeError(
            f"data must be read first, got a path; write gan.data.folder({str(data)!r}, size=32) for pictures or "
            f"gan.data.file({str(data)!r}) for arrays"
        )
    raise TypeError(
        f"data must be a tensor or an array [n, ...], a gan.Data, a torch Dataset or a DataLoader, got "
        f"{type(data).__name__}; make a tensor of it, or see gan.data.folder and gan.data.file"
    )


def _ready(samples: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    samples = samples.to(device, non_blocking=True)
    return samples.to(dtype).div_(127.5).sub_(1) if samples.dtype == torch.uint8 else samples.to(dtype)


class _InMemory:
    def __init__(self, samples: Tensor, labels: object, device: torch.device, dtype: torch.dtype) -> None:
        self.samples, self.dtype = check_samples(samples).detach().to(device), dtype
        if samples.dtype not in (torch.uint8, dtype):
            logger.warning("data are %s and the generator is %s: converted", samples.dtype, dtype)
            self.samples = check_samples(converted(self.samples, dtype, "data"))
        if looks_like_bytes(self.samples):
            logger.warning(
                "data look like pixels from 0 to 255, and networks of images make [−1, 1]: pass them as uint8, or "
                "data / 127.5 - 1"
            )
        self.labels = None if labels is None else check_classes(labels, len(samples), "labels").to(device)

    def draw(self, count: int, number: int, random: torch.Generator) -> Batch:
        index = torch.randint(len(self.samples), (count,), device=self.samples.device, generator=random)
        return self._at(part_of(index))

    def _at(self, index: Tensor) -> Batch:
        batch = _ready(self.samples[index], self.samples.device, self.dtype)
        return batch, None if self.labels is None else self.labels[index]

    def fingerprint(self) -> str:
        return fingerprint(self.samples, *([] if self.labels is None else [self.labels]))

    def example(self) -> Batch:
        return self._at(torch.zeros(2, dtype=torch.long, device=self.samples.device))

    def scale(self) -> float:
        some = self.samples[:: max(1, len(self.samples) // 1000)]
        return _root_of_variance(_ready(some, self.samples.device, self.dtype))

    def class_counts(self) -> Tensor | None:
        return None if self.labels is None else self.labels.bincount().cpu()

    def points(self, most: int) -> Batch:
        n = len(self.samples)
        return self._at(torch.arange(n, device=self.samples.device)[:: -(-n // most)])


class _Indices:
    """The indices of batch after batch: batch k is drawn by the seed and k alone."""

    def __init__(self, n: int, count: int, seed: int, start: int) -> None:
        self.n, self.count, self.seed, self.start = n, count, seed, start

    def __iter__(self) -> Iterator[list[int]]:
        number = self.start
        while True:
            random = stream(f"batches.{number}", self.seed)
            yield part_of(torch.randint(self.n, (self.count,), generator=random)).tolist()
            number += 1


class _MapStyle:
    def __init__(
        self,
        dataset: Dataset,
        device: torch.device,
        dtype: torch.dtype,
        *,
        seed: int,
        workers: int,
        classes: int,
    ) -> None:
        self.dataset, self.device, self.dtype, self.classes = dataset, device, dtype, classes
        self.seed, self.workers, self.next = seed, workers, 0
        self.size = len(dataset)  # pyright: ignore[reportArgumentType]
        self.batches: Iterator[object] | None = None
        if self.size < 1:
            raise ValueError("data must hold at least 1 sample, got an empty dataset; give it samples")
        check_samples(pair_of(self._some(2))[0])

    def _some(self, count: int) -> object:
        picked = torch.linspace(0, self.size - 1, min(count, self.size)).long().tolist()
        try:
            return default_collate([self.dataset[i] for i in picked])
        except (TypeError, RuntimeError) as error:
            raise no_batch(error) from None

    def draw(self, count: int, number: int, random: torch.Generator) -> Batch:
        if self.batches is None or number != self.next:
            indices = _Indices(self.size, count, self.seed, number)
            loader = DataLoader(
                self.dataset,
                batch_sampler=indices,  # pyright: ignore[reportArgumentType]
                num_workers=self.workers,
                pin_memory=self.device.type == "cuda",
                generator=stream("workers", self.seed),
                persistent_workers=False,
            )
            self.batches = iter(loader)
        self.next = number + 1
        try:
            batch = next(self.batches)
        except (TypeError, RuntimeError) as error:
            raise no_batch(error) from error
        return self._of(batch)

    def _of(self, batch: object) -> Batch:
        samples, labels = check_batch(pair_of(batch), self.classes)
        return _ready(samples, self.device, self.dtype), _to(labels, self.device)

    def fingerprint(self) -> str:
        samples, labels = pair_of(self._some(PROBED))
        return f"{self.size} {fingerprint(samples, *([] if labels is None else [labels]))}"

    def example(self) -> Batch:
        return self._of(self._some(2))

    def scale(self) -> float:
        return _root_of_variance(self._of(self._some(1000))[0])

    def class_counts(self) -> Tensor | None:
        return None

    def points(self, most: int) -> Batch:
        return self._of(self._some(most))


class _Loader:
    def __init__(self, loader: Iterable, device: torch.device, dtype: torch.dtype, classes: int) -> None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            raise TypeError(
                "data must be a tensor or a dataset in a run of several processes, got a loader; pass those"
            )
        self.loader, self.device, self.dtype, self.classes = loader, device, dtype, classes
        self.batches: Iterator[object] = iter(())
        self.first: Batch | None = self._next()

    def _next(self) -> Batch:
        for _ in range(2):
            for batch in self.batches:
                samples, labels = check_batch(pair_of(batch), self.classes)
                return _ready(samples, self.device, self.dtype), _to(labels, self.device)
            self.batches = iter(self.loader)
        raise ValueError(
            "data must give at least one batch in each pass, got none; a generator ends after one pass"
        )

    def draw(self, count: int, number: int, random: torch.Generator) -> Batch:
        batch, self.first = self.first or self._next(), None
        return batch

    def fingerprint(self) -> str:
        return "a loader"

    def example(self) -> Batch:
        self.first = self.first or self._next()
        return self.first

    def scale(self) -> float:
        return _root_of_variance(self.example()[0])

    def class_counts(self) -> Tensor | None:
        return None

    def points(self, most: int) -> Batch:
        raise TypeError(
            "data must be a tensor or a dataset for a loss that keeps a number for each data point, got a loader; pass "
            "those, or take gan.losses.Sinkhorn"
        )


def _to(labels: Tensor | None, device: torch.device) -> Tensor | None:
    return None if labels is None else labels.long().to(device)


def _root_of_variance(samples: Tensor) -> float:
    return float(samples.double().flatten(1).var(0, unbiased=False).sum()) ** 0.5
