"""Refusals: every public function checks what enters it here, and nowhere else.

A check returns the value that it has checked, ready for use, and raises `TypeError` for a wrong type or
`ValueError` for a wrong value. The message names the argument, the rule, what came and what to do about it.
"""

import math

import numpy as np
import torch
from torch import Tensor

from metrics.arrays import SupportsDLPack, from_array, made_tensor

__all__ = [
    "SupportsDLPack",
    "as_cloud",
    "as_tensor",
    "check_alike",
    "check_cloud",
    "check_count",
    "check_dense",
    "check_entries",
    "check_fraction",
    "check_generator",
    "check_number",
    "check_object",
    "check_pair",
    "check_positive",
    "check_tensor",
    "check_type",
    "check_weights",
    "from_array",
    "repeatable",
]


HALF = (torch.float16, torch.bfloat16)


def as_tensor(x: object, name: str) -> Tensor:
    """Return what people have as a tensor: arrays become tensors, half precision and uint8 become float32.

    The values of uint8 images stay what they are, 0 … 255.

    >>> as_tensor(torch.ones(2, dtype=torch.bfloat16), "x")
    tensor([1., 1.])
    """
    tensor = from_array(x, name)
    if tensor.is_complex():
        raise TypeError(f"{name} must be real, got {tensor.dtype}; {_in_two_parts(tensor, name)}")
    return tensor.float() if tensor.dtype in (*HALF, torch.uint8) else tensor


def _in_two_parts(x: Tensor, name: str) -> str:
    """What keeps the imaginary parts, which a conversion to floats drops."""
    flat = ".flatten(1)" if x.ndim > 1 else ""
    return f"pass both parts of each number, torch.view_as_real(torch.as_tensor({name})){flat}"


def as_cloud(x: object, name: str = "x", *, least: int = 1) -> Tensor:
    """Return what people have as a cloud [n, d]: as `as_tensor`, and images [n, c, h, w] flattened.

    >>> as_cloud(torch.zeros(4, 1, 2, 2, dtype=torch.uint8)).shape
    torch.Size([4, 4])
    """
    cloud = as_tensor(x, name)
    return check_cloud(cloud.flatten(1) if cloud.ndim == 4 else cloud, name, least=least)


def check_tensor(x: object, name: str, *, shape: str, ndim: int) -> Tensor:
    """Return `x` if it is a finite, non-empty float32 or float64 tensor with `ndim` dimensions.

    Args:
        x: What the user passed.
        name: The argument's name, for the message.
        shape: The rule for the shape, for the message, such as `[n, d]`.
        ndim: The number of dimensions that the rule asks for.
    """
    tensor = check_type(x, name)
    if tensor.ndim != ndim:
        raise ValueError(
            f"{name} must have shape {shape}, got {list(tensor.shape)}; {_reshaped(tensor, name, ndim)}"
        )
    return check_entries(tensor, name)


def check_type(x: object, name: str) -> Tensor:
    """Return `x` if it is a dense float32 or float64 tensor."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}; {made_tensor(x, name)}")
    if x.dtype not in (torch.float32, torch.float64):
        remedy = _in_two_parts(x, name) if x.is_complex() else f"convert with {name}.float()"
        raise TypeError(f"{name} must be float32 or float64, got {x.dtype}; {remedy}")
    return check_dense(x, name)


def check_dense(x: Tensor, name: str) -> Tensor:
    """Refuse what holds its numbers in another way than one after the other, or holds none."""
    if x.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got {x.layout}; convert with {name}.to_dense()")
    if x.is_meta:
        raise TypeError(
            f"{name} must hold numbers, got a tensor on the meta device; move the data to a real one"
        )
    return x


def check_entries(x: Tensor, name: str) -> Tensor:
    """Return `x` if it is finite and not empty."""
    if x.numel() == 0:
        raise ValueError(f"{name} must not be empty, got shape {list(x.shape)}; pass at least one sample")
    # NaN passes through a minimum and a maximum, which take a tenth of the time of asking every entry.
    if not bool(torch.stack(x.detach().aminmax()).isfinite().all()):
        bad = int((~x.detach().isfinite()).sum())
        raise ValueError(f"{name} must be finite, got {bad} NaN or infinite entries; remove or mend them")
    return x


def _reshaped(x: Tensor, name: str, ndim: int) -> str:
    """How a tensor of another number of dimensions gets the right one."""
    if (x.ndim, ndim) == (1, 2):
        return f"add a dimension with {name}[:, None]"
    if x.ndim == ndim + 1 and x.shape[-1] == 1:
        return f"drop the last dimension with {name}[..., 0]"
    if ndim == 2 and x.ndim == 3:
        return (
            f"of pictures flatten each with {name}.flatten(1); of a batch of problems make one call for each"
        )
    if ndim == 2 and x.ndim > 3:
        return f"flatten every point with {name}.flatten(1)"
    if (x.ndim, ndim) == (2, 3):
        return f"a single one is {name}[None]"
    return "reshape it"


def check_cloud(x: object, name: str = "x", *, least: int = 1) -> Tensor:
    """Return `x` if it is a cloud of samples `[n, d]` with at least `least` of them.

    >>> check_cloud(torch.zeros(5))
    Traceback (most recent call last):
    ValueError: x must have shape [n, d], got [5]; add a dimension with x[:, None]
    """
    cloud = check_tensor(x, name, shape="[n, d]", ndim=2)
    if len(cloud) < least:
        raise ValueError(f"{name} must hold at least {least} samples, got {len(cloud)}; pass more")
    return cloud


def check_pair(
    x: object, y: object, names: tuple[str, str] = ("x", "y"), *, least: int = 1
) -> tuple[Tensor, Tensor]:
    """Return two clouds that can be compared: the same d, type and device."""
    a, b = check_cloud(x, names[0], least=least), check_cloud(y, names[1], least=least)
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"{names[0]} and {names[1]} must have the same number of columns, got {a.shape[1]} and "
            f"{b.shape[1]}; compare points of one space"
        )
    check_alike(a, b, names)
    return a, b


def check_alike(a: Tensor, b: Tensor, names: tuple[str, str]) -> None:
    """Refuse two tensors that differ in type or device."""
    if a.dtype != b.dtype:
        raise TypeError(
            f"{names[0]} and {names[1]} must have the same dtype, got {a.dtype} and {b.dtype}; "
            f"convert one with .to({names[0]}.dtype)"
        )
    if a.device != b.device:
        raise ValueError(
            f"{names[0]} and {names[1]} must be on the same device, got {a.device} and {b.device}; "
            f"move one with .to({names[0]}.device)"
        )


def check_weights(weights: object, cloud: Tensor, name: str) -> Tensor:
    """Return weights `[n]` that sum to one; `None` is uniform.

    >>> check_weights(torch.tensor([1., 3.]), torch.zeros(2, 1), "weights_x")
    tensor([0.2500, 0.7500])
    """
    if weights is None:
        return torch.full((len(cloud),), 1 / len(cloud), dtype=cloud.dtype, device=cloud.device)
    w = check_tensor(weights, name, shape="[n]", ndim=1)
    if len(w) != len(cloud):
        raise ValueError(f"{name} must have one entry per sample, {len(cloud)}, got {len(w)}")
    if w.dtype != cloud.dtype or w.device != cloud.device:
        raise TypeError(
            f"{name} must be {cloud.dtype} on {cloud.device} as its cloud, got {w.dtype} on {w.device}; "
            f"convert it with {name}.to(cloud)"
        )
    if bool((w.detach() < 0).any()):
        raise ValueError(f"{name} must not be negative, got a minimum of {float(w.min()):.3g}")
    total = w.sum()
    if not float(total.detach()) > 0:
        raise ValueError(f"{name} must have a positive sum, got {float(total):.3g}")
    if math.isinf(float(total.detach())):
        raise ValueError(f"{name} must have a sum that {w.dtype} can hold, got infinity; scale them down")
    return w / total


def check_positive(value: object, name: str) -> float:
    """Return a finite number above zero; a numpy scalar and a 0-dim tensor are numbers too.

    >>> check_positive(torch.tensor(0.5), "eps")
    0.5
    """
    number = check_number(value, name)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be finite and above 0, got {number}")
    return number


def check_number(value: object, name: str) -> float:
    """Return any number as a float, for a range of the caller's: NaN passes, and what is too large is infinite.

    >>> check_number(np.float32(0.5), "momentum")
    0.5
    """
    number = _plain(value, name)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}{_numbers_in(value)}")
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def check_fraction(value: object, name: str) -> float:
    """Return a number strictly between 0 and 1."""
    fraction = check_positive(value, name)
    if fraction >= 1:
        raise ValueError(f"{name} must be between 0 and 1, got {fraction:g}")
    return fraction


def check_count(value: object, name: str, *, least: int = 1, below: int | None = None) -> int:
    """Return a whole number of at least `least`, and under `below` where that is given.

    A numpy integer and a 0-dim tensor of integers are whole numbers too.

    >>> check_count(torch.tensor(5), "k")
    5
    """
    number = _plain(value, name)
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{name} must be an int, got {type(value).__name__}{_numbers_in(value)}")
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    if below is not None and number >= below:
        raise ValueError(f"{name} must be below {below}, got {number}; lower it or pass more samples")
    return number


def check_object(value: object, name: str) -> None:
    """Refuse a class where an object of it is meant.

    >>> check_object(dict, "settings")
    Traceback (most recent call last):
    TypeError: settings must be an object, got the class dict; write dict(...)
    """
    if isinstance(value, type):
        raise TypeError(
            f"{name} must be an object, got the class {value.__name__}; write {value.__name__}(...)"
        )


def check_generator(generator: object) -> torch.Generator | None:
    """Return a generator or None; a seed in its place is refused, and so is numpy's generator.

    >>> check_generator(0)
    Traceback (most recent call last):
    TypeError: generator must be a torch.Generator or None, got int; pass torch.Generator().manual_seed(0)
    """
    if generator is None or isinstance(generator, torch.Generator):
        return generator
    seed = generator if isinstance(generator, int) and not isinstance(generator, bool) else 0
    raise TypeError(
        f"generator must be a torch.Generator or None, got {type(generator).__name__}; pass "
        f"torch.Generator().manual_seed({seed})"
    )


def repeatable(generator: object, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the generator, or a fresh one seeded with 0 where there is none.

    >>> repeatable(None).initial_seed()
    0
    """
    given = check_generator(generator)
    return torch.Generator(device).manual_seed(0) if given is None else given


def _plain(value: object, name: str) -> object:
    """The Python number in a numpy scalar, a 0-dim array or a 0-dim tensor; anything else as it is."""
    if isinstance(value, Tensor):
        if value.requires_grad:
            raise ValueError(
                f"{name} must be a number without a gradient, got a tensor that requires one; pass {name}.detach()"
            )
        return value.item() if value.ndim == 0 else value
    return value.item() if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 else value


def _numbers_in(value: object) -> str:
    """The shape of what holds several numbers, and the next step."""
    shape = getattr(value, "shape", ())
    return f" of shape {list(shape)}; pass one number of it" if shape else ""
