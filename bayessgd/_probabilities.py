"""A softmax or a sigmoid taken twice: networks that end with one, under what takes logits.

softmax(softmax(z)) is a distribution too, so that nothing fails: it is nearly uniform, and a posterior of such a model
is one of other data.
"""

from typing import Any

import torch
from torch import Tensor, nn

from bayessgd._evaluating import evaluating
from bayessgd._functional import written_copies
from bayessgd._inputs import Inputs, Output, call, rows
from bayessgd._over import warn
from bayessgd.likelihoods import Bernoulli, Categorical, Weighted
from bayessgd.params import unwrap

__all__ = ["are_probabilities", "told_of_probabilities"]

FEW = 32
"""How many data are looked at."""


def are_probabilities(outputs: Tensor, dim: int = -1) -> bool:
    """Return whether all vectors along a dimension are distributions, which logits hardly ever are.

    >>> are_probabilities(torch.tensor([[0.9, 0.1]])), are_probabilities(torch.tensor([[9.0, -8.0]]))
    (True, False)
    """
    if not outputs.numel() or outputs.shape[dim] < 2 or bool((outputs < 0).any()):
        return False
    return bool(((outputs.sum(dim, dtype=torch.float32) - 1).abs() < 1e-2).all())


def told_of_probabilities(
    model: nn.Module, likelihood: object, inputs: Inputs, output: Output | None = None
) -> None:
    """Warn where a network gives probabilities to a likelihood of logits."""
    law: Any = likelihood.likelihood if isinstance(likelihood, Weighted) else likelihood
    network = unwrap(model)
    ends = isinstance(law, Bernoulli) and isinstance(list(network.modules())[-1], nn.Sigmoid)
    if not ends and not isinstance(law, Categorical):
        return
    try:
        with torch.no_grad(), evaluating(network):
            found = call(network, written_copies(network), rows(inputs, slice(FEW)), output)
    except Exception:  # data that belong together, or a fault that the run itself says better
        return
    # The last module need not be what runs last: a gate's sigmoid is not the output's.
    if ends and bool(((found >= 0) & (found <= 1)).all()):
        warn(
            "probabilities",
            "likelihood Bernoulli takes logits, and the model ends with nn.Sigmoid; leave it out",
        )
    if isinstance(law, Categorical) and found.ndim >= 2 and are_probabilities(found, law.class_dim):
        warn(
            "probabilities",
            "likelihood Categorical takes logits, and the model's outputs are probabilities: their softmax is taken "
            "once more; leave the model's out, or let it return their logarithm",
        )
