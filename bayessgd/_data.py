"""Refusals of what a network is held against: data, likelihood and prior."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from bayessgd._inputs import Inputs, Targets
from bayessgd.batches import Data, whole
from bayessgd.likelihoods import Likelihood
from bayessgd.params import named_parameters
from bayessgd.priors import Prior
from metrics.inputs import check_object

__all__ = [
    "check_data",
    "check_finite_data",
    "check_laws",
    "check_likelihood",
    "check_of_model",
    "check_targets",
    "check_wide",
    "gathered",
]


def gathered(model: nn.Module, x: Data, y: Targets | None, *, finite: bool = False) -> tuple[Inputs, Targets]:
    """Return inputs and targets of all data, checked; batches that bring their targets are put together."""
    inputs, targets = whole(x, y, model)
    (check_finite_data if finite else check_data)(inputs, targets)
    return inputs, targets


def check_data(x: object, y: object) -> None:
    """Refuse inputs and targets that are not tensors [n, ...] of the same n ≥ 1, of any type.

    >>> import torch
    >>> check_data(torch.zeros(3, 1), torch.zeros(2))
    Traceback (most recent call last):
    ValueError: x and y must have the same length, got 3 and 2; one target per input
    """
    lengths = {}
    for name, tensor in _entries(x, "x") + _entries(y, "y"):
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{name} must be a torch.Tensor, got {type(tensor).__name__}; use torch.as_tensor"
            )
        if tensor.ndim == 0 or tensor.numel() == 0:
            raise ValueError(
                f"{name} must have shape [n, ...] with n ≥ 1, got {list(tensor.shape)}; pass at least one datum"
            )
        lengths[name] = len(tensor)
    n = list(lengths.values())[-1]
    for name, length in lengths.items():
        if length != n:
            where = "" if name == "x" else f" in {name}"
            raise ValueError(
                f"x and y must have the same length, got {length} and {n}{where}; one target per input"
            )


def check_finite_data(x: object, y: object) -> None:
    """Refuse the same, and NaN and infinity: a look at every entry, for functions that take all the data."""
    check_data(x, y)
    for name, tensor in _entries(x, "x") + _entries(y, "y"):
        assert isinstance(tensor, Tensor)
        # NaN passes through both extremes.
        if tensor.is_floating_point() and not all(bool(t.isfinite()) for t in tensor.detach().aminmax()):
            bad = int((~tensor.detach().isfinite()).sum())
            raise ValueError(f"{name} must be finite, got {bad} NaN or infinite entries; remove or mend them")


def _entries(x: object, name: str) -> list[tuple[str, object]]:
    """Return what must be a tensor, with its name; flags and None among several arguments are left out."""
    if isinstance(x, Mapping):
        found: list[tuple[str, object]] = [
            (f"{name}[{key!r}]", part) for key, part in x.items() if isinstance(part, Tensor)
        ]
    elif isinstance(x, tuple):
        found = [(f"{name}[{i}]", part) for i, part in enumerate(x) if isinstance(part, Tensor)]
    else:
        return [(name, x)]
    return found or [(name, x)]


def check_wide(model: nn.Module, what: str) -> None:
    """Refuse a network in half precision, whose rounding is coarse beside the steps that are made in its weights."""
    for name, p in named_parameters(model).items():
        if p.dtype in (torch.float16, torch.bfloat16):
            raise ValueError(
                f"model must be in float32 or float64 for {what}, got {p.dtype} in {name}: its steps are lost in the "
                "rounding; pass model.float()"
            )


def check_likelihood(likelihood: object, *, joint: bool = False) -> None:
    """Refuse what is no likelihood; and, unless `joint`, one of all the data that has no term for each."""
    check_object(likelihood, "likelihood")
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


def check_targets(likelihood: Likelihood, targets: Targets) -> None:
    """Refuse targets of no probability: a look at values, which a likelihood's log_prob cannot take under `vmap`."""
    check = getattr(likelihood, "check_targets", None)
    if check is not None:
        check(targets)


def check_laws(likelihood: object, prior: object, *, joint: bool = False) -> None:
    """Refuse what is no likelihood or no prior; and, unless `joint`, a likelihood that has no term for each datum."""
    check_likelihood(likelihood, joint=joint)
    check_object(prior, "prior")
    if isinstance(prior, Distribution):
        raise TypeError(
            f"prior must be one of bayessgd.priors, got the distribution {type(prior).__name__}, which knows no "
            'parameters by name; write likelihoods.NamedPriors({"*": distribution})'
        )
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
