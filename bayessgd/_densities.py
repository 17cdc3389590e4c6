"""Log densities of torch's distributions in a parameter's own type.

`HalfCauchy(1.0)` holds a float32 scale and rounds what it is asked about to that type: a float64 parameter would have a
prior in steps of 1e-7, and Newton's method or NUTS a potential that is rough. Its checks of values stop `vmap` besides.
"""

from typing import Any

from torch import Tensor
from torch.distributions import Distribution

__all__ = ["log_density"]


def log_density(law: Distribution, value: Tensor, name: str) -> Tensor:
    """Return log p(value), elementwise, computed in the type of `value`.

    Args:
        law: Any distribution.
        value: Of a floating type.
        name: The argument's name, for the message.

    Raises:
        ValueError: A law that works in a narrower type and cannot be made anew in this one.
    """
    found = _widened(law, value).log_prob(value)
    if found.dtype != value.dtype:
        raise ValueError(
            f"{name} must be of the parameters' {value.dtype}, got a {type(law).__name__} of {found.dtype}, which "
            f"rounds them; make it from tensors of {value.dtype}"
        )
    return found


def _widened(law: Distribution, value: Tensor) -> Distribution:
    kind: Any = type(law)
    try:
        # What the constructor was given, not what was worked out of it later: a Bernoulli has probs or logits.
        given = [
            k for k in kind.arg_constraints if k in vars(law) or isinstance(getattr(kind, k, None), property)
        ]
        arguments = {k: getattr(law, k).to(value) for k in given}
        return kind(**arguments, validate_args=False) if arguments else law
    except (TypeError, ValueError, AttributeError, NotImplementedError):
        return law
