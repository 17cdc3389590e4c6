"""BatchNorm's running statistics for networks that were drawn, not trained.

BatchNorm in evaluation uses a mean and a variance per channel that training left behind. They belong to the
weights of that training, not to a draw from a posterior, and a network drawn around an average of weights
predicts badly with them. For each draw they are made anew, as Izmailov et al. (2018, section 3.2) do for
averaged weights: reset, then one pass over training data with the momentum b/(n + b) for a batch of b after
n data, so that both statistics become means over the data.

Only the BatchNorm layers are in training mode during that pass; dropout is off, as it is when predicting.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase as BatchNorm  # InstanceNorm may keep statistics too

from bayessgd._inputs import Inputs, joined, size
from bayessgd.batches import Data, batches_of

__all__ = [
    "fresh_statistics",
    "has_statistics",
    "refresh_batches",
    "refreshing",
    "statistics",
    "too_few",
]


def _layers(model: nn.Module) -> dict[str, BatchNorm]:
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, BatchNorm) and layer.track_running_stats
    }


def has_statistics(model: nn.Module) -> bool:
    """Return whether the network holds running statistics of BatchNorm.

    >>> has_statistics(nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2)))
    True
    """
    return bool(_layers(model))


def statistics(model: nn.Module) -> list[str]:
    """Return the names of the buffers of all BatchNorm layers.

    >>> statistics(nn.BatchNorm1d(1))
    ['running_mean', 'running_var', 'num_batches_tracked']
    """
    return [
        f"{name}.{key}" if name else key
        for name, layer in _layers(model).items()
        for key, _ in layer.named_buffers(recurse=False)
    ]


def refresh_batches(data: Data, model: nn.Module) -> Iterator[Inputs]:
    """Yield the inputs of batches, a single datum joined to others: it has no variance over a batch.

    >>> batches = [torch.zeros(2, 1), torch.zeros(1, 1)]
    >>> [len(x) for x in refresh_batches(batches, nn.Linear(1, 1))]
    [3]
    """
    held: Inputs | None = None
    single: Inputs | None = None
    for batch in batches_of(data, model):
        if size(batch.inputs) == 0:
            continue
        inputs = batch.inputs if single is None else joined([single, batch.inputs])
        if size(inputs) == 1:
            single = inputs
            continue
        if held is not None:
            yield held
        held, single = inputs, None
    if single is not None:
        held = single if held is None else joined([held, single])
    if held is not None:
        yield held


def fresh_statistics(model: nn.Module, num_draws: int) -> dict[str, Tensor]:
    """Return the buffers of all BatchNorm layers as after a reset, [num_draws, *shape] by name.

    >>> fresh_statistics(nn.BatchNorm1d(1), 2)["running_var"]
    tensor([[1.],
            [1.]])
    """
    fresh = {}
    for name, layer in _layers(model).items():
        for key, buffer in layer.named_buffers(recurse=False):
            reset = torch.ones_like(buffer) if key == "running_var" else torch.zeros_like(buffer)
            path = f"{name}.{key}" if name else key
            fresh[path] = reset.expand(num_draws, *buffer.shape).clone()
    return fresh


class Refresh:
    """Sets the momentum of every BatchNorm layer to that of a cumulative mean over the data.

    A layer that a pass calls k times sees k·b data: each call counts them, and every pass over a batch, of which there
    are several where draws run one by one, begins with the counts that the batch before it left.
    """

    def __init__(self, layers: list[BatchNorm]) -> None:
        self._layers, self.seen, self._size = layers, 0, 0
        self._before, self._now = dict.fromkeys(layers, 0), dict.fromkeys(layers, 0)

    def next_batch(self, size: int) -> None:
        """Announce a batch of `size` data: it gets the weight size/(seen + size)."""
        self.seen += size
        self._size, self._before = size, dict(self._now)
        for layer in self._layers:
            layer.momentum = size / self.seen

    def begin(self, *_: object) -> None:
        """Begin a pass over the batch."""
        self._now = dict(self._before)

    def count(self, layer: nn.Module, *_: object) -> None:
        """Give a layer the momentum of its next call."""
        assert isinstance(layer, BatchNorm)
        self._now[layer] += self._size
        layer.momentum = self._size / self._now[layer]


@contextmanager
def refreshing(model: nn.Module) -> Iterator[Refresh]:
    """Put the BatchNorm layers, and nothing else, into training mode; leave the network as it was."""
    layers = list(_layers(model).values())
    before = [(layer.training, layer.momentum) for layer in layers]
    refresh = Refresh(layers)
    hooks = [model.register_forward_pre_hook(refresh.begin)]
    hooks += [layer.register_forward_pre_hook(refresh.count) for layer in layers]
    try:
        for layer in layers:
            layer.training = True
        yield refresh
    finally:
        for hook in hooks:
            hook.remove()
        for layer, (training, momentum) in zip(layers, before, strict=True):
            layer.training, layer.momentum = training, momentum


@contextmanager
def too_few() -> Iterator[None]:
    """Say in the library's words that a single datum has no variance."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            "refresh_batchnorm must have at least 2 data, for a variance over them, got 1; pass the training data"
        ) from error
