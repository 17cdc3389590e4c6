"""Losses by the names that a person types on a command line."""

from collections.abc import Callable
from functools import partial

from gan.losses.donsker_varadhan import DonskerVaradhan
from gan.losses.f_family import (
    KL,
    JensenShannon,
    Neyman,
    NonSaturating,
    Pearson,
    ReverseKL,
    SquaredHellinger,
    TotalVariation,
)
from gan.losses.hinge import Hinge
from gan.losses.kernel import MMD, Energy
from gan.losses.least_squares import LeastSquares
from gan.losses.protocols import SampleLoss, ScoreLoss
from gan.losses.relativistic import RelativisticPairing
from gan.losses.transport import Sinkhorn, SlicedWasserstein
from gan.losses.wasserstein import Wasserstein

__all__ = ["NAMES", "named"]

_CATALOGUE: dict[str, Callable[[], ScoreLoss | SampleLoss]] = {
    "js": JensenShannon,
    "ns": NonSaturating,
    "kl": KL,
    "reverse-kl": ReverseKL,
    "pearson": Pearson,
    "neyman": Neyman,
    "hellinger": SquaredHellinger,
    "tv": TotalVariation,
    "dv": DonskerVaradhan,
    "lsgan": LeastSquares,
    "hinge": Hinge,
    "rpgan": RelativisticPairing,
    "wgan": Wasserstein,
    "wgan-gp": Wasserstein,
    "wgan-lp": Wasserstein,
    "sinkhorn": Sinkhorn,
    "sinkhorn-critic": partial(Sinkhorn, learned_cost=True),
    "mmd": MMD,
    "energy": Energy,
    "sliced": SlicedWasserstein,
}
NAMES = tuple(_CATALOGUE)
"""Every name that `named` knows."""


def named(name: str) -> ScoreLoss | SampleLoss:
    """Return a fresh loss, with its default settings, by its name.

    `wgan`, `wgan-gp` and `wgan-lp` are one loss: they differ in the penalty, which is an object of its own.

    Raises:
        ValueError: An unknown name; the message lists `NAMES`.

    >>> named("kl")
    KL(non_saturating=True, max_log_ratio=10.0)
    """
    if name not in _CATALOGUE:
        raise ValueError(f"a loss must be one of {', '.join(NAMES)}; got {name!r}")
    return _CATALOGUE[name]()
