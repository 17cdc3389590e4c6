"""Fingerprints: two sets of weights are the same features if and only if their bytes are the same.

A fingerprint is the SHA-256 of the tensors' bytes, each after its name, type and shape. It is the same on every
device and for every file format that keeps bits. 256 bits do not collide by chance.
"""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["fingerprint", "fingerprint_of_module"]


def fingerprint(*tensors: Tensor) -> str:
    """Return the SHA-256 of some tensors' types, shapes and bytes, in hexadecimal digits.

    >>> fingerprint(torch.zeros(2)) == fingerprint(torch.zeros(2)), fingerprint(torch.zeros(2, 1))[:8]
    (True, '9960ba98')
    """
    return _digest(("", tensor) for tensor in tensors)


def fingerprint_of_module(module: torch.nn.Module) -> str:
    """Return the SHA-256 of a module's class, its printed structure and its parameters and buffers.

    The structure is what `repr` shows, with each layer's own settings. What a `forward` does between the layers is told
    apart by the class's name alone.

    >>> one, two = torch.nn.ReLU(), torch.nn.Tanh()
    >>> fingerprint_of_module(one) == fingerprint_of_module(two)
    False
    """
    kind = type(module)
    return _digest(module.state_dict().items(), f"{kind.__module__}.{kind.__qualname__} {module!r}")


def _digest(named: Iterable[tuple[str, Tensor]], start: str = "") -> str:
    digest = hashlib.sha256(start.encode())
    for name, t in named:
        digest.update(f"{name}{t.dtype} {list(t.shape)}".encode())
        # Bytes and not values: numpy has no bfloat16.
        flat = t.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes() if len(flat) else b"")
    return digest.hexdigest()
