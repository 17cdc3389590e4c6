"""What the proper scores share: their checks, and the mean over the outcomes or every outcome's own score."""

from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_alike, check_tensor

__all__ = ["BLOCK", "FAIR", "Score", "check_ensemble", "check_gaussian", "pairs", "reduced"]

Score = Float[Tensor, ""] | Float[Tensor, " n"]
"""The mean over the outcomes or, with `per_point=True`, every outcome's own score."""

FAIR = " for a fair score"

BLOCK = 2**22
"""Numbers in flight per block: 32 MiB in float64."""


def check_gaussian(mean: Tensor, std: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return means, standard deviations above 0 and outcomes, [n] each, in float64."""
    check_tensor(y, "y", shape="[n]", ndim=1)
    for moment, name in ((mean, "mean"), (std, "std")):
        check_tensor(moment, name, shape="[n]", ndim=1)
        if len(moment) != len(y):
            raise ValueError(
                f"{name} must have one entry per outcome, {len(y)}, got {len(moment)}; "
                "expand one that all outcomes share"
            )
        check_alike(moment, y, (name, "y"))
    least = float(std.detach().min())
    if least <= 0:
        raise ValueError(f"std must be above 0, got a minimum of {least:.3g}; it is not a log or a variance")
    return mean.double(), std.double(), y.double()


def check_ensemble(samples: object, y: object, *, least: int = 1, why: str = "") -> tuple[Tensor, Tensor]:
    """Return samples [samples, n, ...] and outcomes [n, ...] that fit together, at least `least` samples of each."""
    x = check_tensor(samples, "samples", shape="[samples, n, ...]", ndim=max(2, _ndim(samples)))
    outcome = check_tensor(y, "y", shape="[n, ...]", ndim=max(1, _ndim(y)))
    if x.shape[1:] != outcome.shape:
        raise ValueError(
            "samples must have shape [samples, n, ...] with y's shape "
            f"{list(outcome.shape)} after the first dimension, got {list(x.shape)}; {_remedy(x, outcome)}"
        )
    check_alike(x, outcome, ("samples", "y"))
    if len(x) < least:
        raise ValueError(f"samples must hold at least {least} samples{why}, got {len(x)}; draw more")
    return x, outcome


def _ndim(x: object) -> int:
    return x.ndim if isinstance(x, Tensor) else 0


def _remedy(x: Tensor, y: Tensor) -> str:
    """What makes the two fit, where their sizes tell."""
    if x.transpose(0, 1).shape[1:] == y.shape:
        return "samples come first: pass samples.transpose(0, 1)"
    if x.shape[1:] == (*y.shape, 1):
        return "drop the last dimension with samples[..., 0]"
    if (*x.shape[1:], 1) == y.shape:
        return "drop the last dimension with y[..., 0]"
    return "predict the inputs whose outcomes y holds"


def pairs(count: int, *, fair: bool) -> int:
    """How many pairs of samples the mean over pairs divides by."""
    return count * (count - 1 if fair else count)


def reduced(scores: Tensor, per_point: bool) -> Tensor:
    """The scores, or their mean."""
    return scores if per_point else scores.mean()
