"""What a checkpoint knows of a run's parts, so that a run goes on only as the run that it was.

Objects and functions are known by their names and settings, never by where they lie, which is another place in the next
process; what no name and no setting shows, such as the body of a lambda, is not known.
"""

import functools
import re

import torch

__all__ = ["told", "told_optimizer"]

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def told(given: object) -> str:
    """Return the name and the settings of an object or a function.

    >>> told(functools.partial(torch.optim.Adam, lr=0.001)), told(torch.nn.ReLU())
    ('Adam(lr=0.001)', 'ReLU()')
    """
    if isinstance(given, functools.partial):
        settings = [repr(each) for each in given.args] + [f"{k}={v!r}" for k, v in given.keywords.items()]
        return f"{told(given.func)}({', '.join(settings)})"
    if hasattr(given, "__qualname__"):
        return str(getattr(given, "__qualname__"))  # noqa: B009
    if type(given).__repr__ is not object.__repr__:
        return ADDRESS.sub("", " ".join(repr(given).split()))
    plain = {
        k: v
        for k, v in getattr(given, "__dict__", {}).items()
        if isinstance(v, int | float | bool | str | tuple)
    }
    name = type(given).__qualname__
    return f"{name}({', '.join(f'{k}={v!r}' for k, v in plain.items())})" if plain else name


def told_optimizer(optimizer: torch.optim.Optimizer) -> str:
    """Its class and the settings that do not change while it runs."""
    kept = {
        k: v
        for k, v in optimizer.defaults.items()
        if isinstance(v, int | float | bool | tuple) and k != "fused"
    }
    return f"{type(optimizer).__name__}({', '.join(f'{k}={v}' for k, v in sorted(kept.items()))})"
