"""What the proper scores share: their checks, and the mean over the outcomes or every outcome's own score."""

from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_alike, check_tensor

__all__ = ["BLOCK", "Score", "check_ensemble", "check_gaussian", "pairs", "reduced"]

Score = Float[Tensor, ""] | Float[Tensor, " n"]
"""The mean over the outcomes or, with `per_point=True`, every outcome's own score."""

BLOCK = 2**22
"""Numbers in flight per block: 32 MiB in float64."""


def check_gaussian(mean: Tensor, std: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
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


def check_ensemble(samples: Tensor, y: Tensor, *, fair: bool) -> int:
    """The number of members."""
    n, members = samples.shape[:2]
    if y.shape != (n, *samples.shape[2:]):
        raise ValueError(
            f"y must match samples without its members, {[n, *samples.shape[2:]]}, got {list(y.shape)}; "
            "members are the second dimension of samples"
        )
    check_alike(samples, y, ("samples", "y"))
    if fair and members < 2:
        raise ValueError("samples must hold at least 2 members for a fair score, got 1; draw more")
    return members


def pairs(members: int, *, fair: bool) -> int:
    return members * (members - 1 if fair else members)


def reduced(scores: Tensor, per_point: bool) -> Tensor:
    return scores if per_point else scores.mean()
