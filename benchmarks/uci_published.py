"""What the literature reports on the UCI regressions: means over the splits, in the targets' own units.

Rows marked "recalled" are quoted from memory of the papers' tables and should be looked up before they are cited. Those
of MC dropout are in the page of its authors' repository (yaringal/DropoutUncertaintyExps), the last one with its scores
split by split. These all use the same 20 splits (protein: 5) and one hidden layer of 50 ReLUs (protein: 100). The
subspace paper does not: Izmailov et al. draw random splits of their own, fit a network with a head for the noise, and
tune a temperature between 0.1 and 1e4 for each set; their larger sets, of standardised targets and deeper networks,
cannot stand here.
"""

from dataclasses import dataclass, field

__all__ = ["DROPOUT", "PUBLISHED", "Published"]


@dataclass(frozen=True)
class Published:
    """One row: mean test log-likelihoods and RMSEs by set."""

    name: str
    source: str
    log_likelihood: dict[str, float]
    rmse: dict[str, float] = field(default_factory=dict)
    same_splits: bool = True


ORDER = ("yacht", "boston", "energy", "concrete", "wine", "power-plant", "kin8nm", "naval", "protein")
SMALL = ("yacht", "boston", "energy", "concrete", "naval")


def _row(*values: float, sets: tuple[str, ...] = ORDER) -> dict[str, float]:
    return dict(zip(sets, values, strict=True))


PUBLISHED = (
    Published(
        "PBP",
        "Hernández-Lobato & Adams 2015, recalled",
        _row(-1.63, -2.57, -2.04, -3.16, -0.97, -2.84, 0.90, 3.73, -2.97),
        _row(1.02, 3.01, 1.80, 5.67, 0.64, 4.12, 0.10, 0.01, 4.73),
    ),
    Published(
        "MC dropout",
        "Gal & Ghahramani 2016",
        _row(-1.55, -2.46, -1.99, -3.04, -0.93, -2.80, 0.95, 3.80, -2.89),
        _row(1.11, 2.97, 1.66, 5.23, 0.62, 4.02, 0.10, 0.01, 4.36),
    ),
    Published(
        "MC dropout, 10 times as long",
        "Gal 2016, the authors' repository",
        _row(-1.38, -2.39, -1.72, -2.94, -0.92, -2.79, 0.97, 3.92, -2.87),
        _row(0.72, 2.80, 1.09, 4.81, 0.61, 4.00, 0.09, 0.00, 4.27),
    ),
    Published(
        "deep ensemble",
        "Lakshminarayanan et al. 2017, recalled",
        _row(-1.18, -2.41, -1.38, -3.06, -0.94, -2.79, 1.20, 5.63, -2.83),
        _row(1.58, 3.28, 2.09, 6.03, 0.64, 4.11, 0.09, 0.00, 4.71),
    ),
    Published(
        "MC dropout, tuned",
        "Mukhoti, Stenetorp & Gal 2018, the authors' repository",
        _row(-1.25, -2.40, -1.21, -2.93, -0.93, -2.80, 1.14, 4.45, -2.87),
        _row(0.67, 2.90, 0.54, 4.82, 0.62, 4.01, 0.08, 0.00, 4.27),
    ),
    Published(
        "HMC, constant noise",
        "Bui et al. 2016, recalled",
        _row(-1.62, -2.27, -0.93, -2.72, -0.91, -2.70, 1.35, 7.31, -2.77),
    ),
    Published(
        "subspace: SGD",
        "Izmailov et al. 2019, recalled",
        _row(-0.418, -2.752, -1.736, -3.178, 6.567, sets=SMALL),
        same_splits=False,
    ),
    Published(
        "subspace: ESS",
        "Izmailov et al. 2019, recalled",
        _row(-0.225, -2.719, -1.563, -3.007, 6.541, sets=SMALL),
        same_splits=False,
    ),
    Published(
        "subspace: VI",
        "Izmailov et al. 2019, recalled",
        _row(-0.396, -2.716, -1.715, -2.994, 6.708, sets=SMALL),
        same_splits=False,
    ),
    Published(
        "subspace: SWAG",
        "Izmailov et al. 2019, recalled",
        _row(-0.404, -2.761, -1.679, -3.013, 6.708, sets=SMALL),
        same_splits=False,
    ),
)
"""The rows, oldest first; HMC is the long run that the others approximate."""

# fmt: off
DROPOUT = {
    "yacht": (
        -1.311, -1.202, -1.139, -1.248, -1.222, -1.220, -1.171, -1.385, -1.184, -1.159, -1.354,
        -1.344, -1.263, -1.263, -1.289, -1.214, -1.190, -1.253, -1.241, -1.350,
    ),
    "boston": (
        -2.444, -2.448, -2.245, -2.347, -2.735, -2.179, -2.145, -2.484, -2.635, -2.850, -2.608,
        -2.163, -2.300, -2.386, -2.240, -2.225, -2.382, -2.376, -2.374, -2.474,
    ),
    "energy": (
        -1.174, -1.210, -1.176, -1.210, -1.221, -1.202, -1.186, -1.205, -1.245, -1.192, -1.261,
        -1.206, -1.251, -1.205, -1.179, -1.222, -1.228, -1.202, -1.222, -1.234,
    ),
    "concrete": (
        -3.050, -2.930, -2.792, -2.925, -3.092, -2.830, -3.029, -2.987, -2.869, -2.976, -2.711,
        -2.817, -2.883, -2.798, -3.050, -2.932, -2.956, -2.896, -3.128, -3.081,
    ),
    "wine": (
        -0.928, -0.910, -1.065, -0.900, -0.844, -0.950, -0.973, -0.995, -0.838, -0.960, -0.920,
        -0.964, -1.014, -0.923, -0.907, -0.831, -0.924, -0.876, -0.907, -0.934,
    ),
    "power-plant": (
        -2.847, -2.753, -2.779, -2.801, -2.897, -2.866, -2.810, -2.772, -2.804, -2.812, -2.772,
        -2.883, -2.763, -2.824, -2.781, -2.777, -2.793, -2.790, -2.806, -2.826,
    ),
    "kin8nm": (
        1.070, 1.136, 1.137, 1.140, 1.183, 1.108, 1.140, 1.155, 1.144, 1.088, 1.159, 1.113, 1.129,
        1.178, 1.107, 1.156, 1.170, 1.104, 1.143, 1.170,
    ),
    "naval": (
        4.418, 4.452, 4.457, 4.447, 4.446, 4.455, 4.432, 4.455, 4.454, 4.441, 4.458, 4.455, 4.456,
        4.449, 4.455, 4.443, 4.452, 4.455, 4.453, 4.459,
    ),
    "protein": (
        -2.874, -2.867, -2.874, -2.875, -2.867,
    ),
}
# fmt: on
"""Test log-likelihoods of the tuned dropout, split by split, from its authors' repository."""
