"""Refusals of what a network is held against: data, likelihood and prior."""

from collections.abc import Mapping

from torch import Tensor, nn

from bayessgd.likelihoods import Likelihood
from bayessgd.params import named_parameters
from bayessgd.priors import Prior

__all__ = [
    "Inputs",
    "check_data",
    "check_finite_data",
    "check_finite_inputs",
    "check_laws",
    "check_likelihood",
    "check_of_model",
    "parts",
    "rows",
]

Inputs = Tensor | tuple[Tensor, ...]
"""What a network is called with: one tensor [n, ...] or a tuple of them, one for each argument."""


def parts(x: Inputs) -> tuple[Tensor, ...]:
    """Return the network's arguments as a tuple."""
    return x if isinstance(x, tuple) else (x,)


def rows(x: Inputs, which: slice | Tensor) -> Inputs:
    """Return some of the data.

    >>> import torch
    >>> rows((torch.arange(3), torch.zeros(3, 1)), slice(1))
    (tensor([0]), tensor([[0.]]))
    """
    return tuple(part[which] for part in x) if isinstance(x, tuple) else x[which]


def check_data(x: object, y: object) -> tuple[Tensor, Tensor]:
    """Return inputs and targets that are tensors [n, ...] of the same n ≥ 1, of any type.

    >>> import torch
    >>> check_data(torch.zeros(3, 1), torch.zeros(2))
    Traceback (most recent call last):
    ValueError: x and y must have the same length, got 3 and 2; one target per input
    """
    for name, tensor in (("x", x), ("y", y)):
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{name} must be a torch.Tensor, got {type(tensor).__name__}; use torch.as_tensor"
            )
        if tensor.ndim == 0 or tensor.numel() == 0:
            raise ValueError(
                f"{name} must have shape [n, ...] with n ≥ 1, got {list(tensor.shape)}; pass at least one datum"
            )
    assert isinstance(x, Tensor)
    assert isinstance(y, Tensor)
    if len(x) != len(y):
        raise ValueError(
            f"x and y must have the same length, got {len(x)} and {len(y)}; one target per input"
        )
    return x, y


def check_finite_data(x: object, y: object) -> tuple[Tensor, Tensor]:
    """Return the same, with neither NaN nor infinity: a look at every entry, for functions that take all the data."""
    inputs, targets = check_data(x, y)
    _check_finite(inputs, "x")
    _check_finite(targets, "y")
    return inputs, targets


def check_finite_inputs(x: object, y: object) -> None:
    """Do the same where x may also be a tuple of tensors, each of the same n."""
    for part in x if isinstance(x, tuple) and x else (x,):
        check_finite_data(part, y)


def _check_finite(tensor: Tensor, name: str) -> None:
    if not all(bool(t.isfinite()) for t in tensor.detach().aminmax()):  # NaN passes through both
        bad = int((~tensor.detach().isfinite()).sum())
        raise ValueError(f"{name} must be finite, got {bad} NaN or infinite entries; remove or mend them")


def check_likelihood(likelihood: object, *, joint: bool = False) -> None:
    """Refuse what is no likelihood; and, unless `joint`, one of all the data that has no term for each."""
    if not isinstance(likelihood, Likelihood):
        raise TypeError(
            f"likelihood must be one of bayessgd.likelihoods, got {type(likelihood).__name__}; "
            "your own needs log_prob(output, target) and to be called with the output"
        )
    if getattr(likelihood, "joint", False) and not joint:
        raise ValueError(
            f"likelihood must have one term per datum here, got {type(likelihood).__name__}, of all the data together; "
            "sample it by reference.nuts"
        )


def check_laws(likelihood: object, prior: object, *, joint: bool = False) -> None:
    """Refuse what is no likelihood or no prior; and, unless `joint`, a likelihood that has no term for each datum."""
    check_likelihood(likelihood, joint=joint)
    if not isinstance(prior, Prior):
        raise TypeError(
            f"prior must be one of bayessgd.priors, got {type(prior).__name__}; your own needs log_prob(params)"
        )


def check_of_model(params: Mapping[str, Tensor], model: nn.Module, name: str, *, lead: int = 0) -> None:
    """Refuse tensors [..., *shape] that are not of the model's trainable parameters; some may be left out.

    Args:
        params: From parameter name to tensor.
        model: The network.
        name: The argument's name, for the message.
        lead: How many leading dimensions the tensors have.
    """
    own = named_parameters(model)
    unknown = sorted(set(params) - set(own))
    if unknown:
        raise ValueError(f"{name} must be of the model's parameters {list(own)}, got unknown {unknown}")
    for key, tensor in params.items():
        if tensor.shape[lead:] != own[key].shape:
            raise ValueError(
                f"{name} must have the shape {list(own[key].shape)} of the model's {key}, got "
                f"{list(tensor.shape[lead:])}; it is of another network"
            )
