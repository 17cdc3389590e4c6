"""Random streams that are independent though they share one seed.

A person gives one seed to a whole experiment. If the weights, the data and the training all began their own
`torch.Generator` with that number, they would draw the *same* Gaussians: a critic's first weight matrix would
be the first batch of latents over again. So each use has a name, and its stream is seeded by a hash of the
name and the seed.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import numpy as np
import torch
from torch import Tensor

from metrics.inputs import check_count

__all__ = ["Noise", "stream"]


def stream(name: str, seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a generator for one named use of a seed.

    Args:
        name: What the numbers are for, such as `networks.critic`.
        seed: The experiment's seed, 0 or more.
        device: Where the generator draws.

    >>> first, second = stream("weights", 0), stream("data", 0)
    >>> bool(torch.rand((), generator=first) == torch.rand((), generator=second))
    False
    """
    seed = check_count(seed, "seed", least=0)
    mixed = np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(mixed[0]))


_LENDING = RLock()
"""Of two runs in two threads one has the generators, which they share, at a time."""


class Noise:
    """What networks draw by themselves, by dropout or as noise in their layers, as a stream of the run's own.

    They draw from torch's default generators, which are lent to them with this stream's state and are afterwards as
    they were.

    >>> layer, noise = torch.nn.Dropout(), Noise(torch.device("cpu"), "networks", 0)
    >>> with noise.lent():
    ...     first = layer(torch.ones(1000))
    >>> with Noise(torch.device("cpu"), "networks", 0).lent():
    ...     bool((layer(torch.ones(1000)) == first).all())
    True
    """

    def __init__(self, device: torch.device, name: str, seed: int) -> None:
        self._lenders = [torch.default_generator]
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            self._lenders.append(torch.cuda.default_generators[index])
        self._states: list[Tensor] = []
        self.start(name, seed)

    def start(self, name: str, seed: int) -> None:
        """Begin the stream of another name or seed."""
        self._states = [stream(name, seed, each.device).get_state() for each in self._lenders]

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let torch's default generators draw from the stream, which goes on where it was."""
        with _LENDING:
            before = [each.get_state() for each in self._lenders]
            self._set(self._states)
            try:
                yield
            finally:
                self._states = [each.get_state() for each in self._lenders]
                self._set(before)

    def _set(self, states: list[Tensor]) -> None:
        for each, state in zip(self._lenders, states, strict=True):
            each.set_state(state)
