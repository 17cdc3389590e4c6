"""Random streams that are independent though they share one seed.

A person gives one seed to a whole experiment. If the weights, the data and the training all began their own
`torch.Generator` with that number, they would draw the *same* Gaussians: a critic's first weight matrix would
be the first batch of latents over again. So each use has a name, and its stream is seeded by a hash of the
name and the seed.
"""

import zlib

import numpy as np
import torch

from metrics.inputs import check_count

__all__ = ["stream"]


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
