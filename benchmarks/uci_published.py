"""What the literature reports on the UCI regressions: means over splits, in the targets' own units.

Every row names the source that its numbers were read in; none is from memory. ± is what the source prints behind a
mean: a standard error in the rows of MC dropout, VI and PBP, and not said in the others. Where a source gives the
negative log-likelihood, the sign is turned.

A row belongs to one of three groups:

- `SAME`: the 20 splits of Hernández-Lobato & Adams (protein: 5), one hidden layer of 50 ReLUs (protein: 100);
- `DEEPER`: these splits, two hidden layers;
- `OTHER`: splits of its own, or not said which. Wu et al. (the version under review) draw 20 of 90 % and 10 %.
  Izmailov et al. draw 20, fit a network with a head for the noise, and tune a temperature for each set; their larger
  sets, of standardised targets and deeper networks, cannot stand here. Uncertainty Baselines holds out 20 %, and its
  target on naval is the decay of the turbine, where these splits have the compressor's: its own values on naval do not
  stand here. The row of Amini et al. was read in another paper's table.

Not shown, because no text of the table could be read: HMC (Bui et al. 2016). The page of Uncertainty Baselines has 2.46
for the matrix Gaussian on naval, the same digits as on boston.
"""

from dataclasses import dataclass, field

__all__ = ["DEEPER", "DROPOUT", "OTHER", "PUBLISHED", "SAME", "Number", "Published"]

SAME, DEEPER, OTHER = "the same splits", "the same splits, two hidden layers", "other splits"

Number = tuple[float, float | None]
"""A mean, and what the source prints behind ±."""


@dataclass(frozen=True)
class Published:
    """One row: mean test log-likelihoods and RMSEs by set."""

    name: str
    source: str
    log_likelihood: dict[str, Number]
    rmse: dict[str, Number] = field(default_factory=dict)
    group: str = SAME


SETS = ("boston", "concrete", "energy", "kin8nm", "naval", "power-plant", "protein", "wine", "yacht")
"""In the order of the sources."""


def _row(means: str, errors: str = "", *, sign: int = 1) -> dict[str, Number]:
    """Return a row of the sources, nine numbers in the order of `SETS`; a dash is none."""
    printed = errors.split() or ["-"] * len(SETS)
    return {
        name: (sign * float(mean), None if error == "-" else float(error))
        for name, mean, error in zip(SETS, means.split(), printed, strict=True)
        if mean != "-"
    }


GAL = "Gal & Ghahramani 2016, Dropout as a Bayesian Approximation, table 1"
DROPOUT_2016 = "yaringal/DropoutUncertaintyExps, readme.md of 2016"
BASELINES = "google/uncertainty-baselines, baselines/uci/README.md"
SUBSPACE = "Izmailov et al. 2019, tables 2 and 3 of the supplement, wjmaddox/drbayes"
FIXING = "Wu et al. 2019, Fixing Variational Bayes, table 2"

PUBLISHED = (
    Published(
        "VI",
        f"Graves 2011, in {GAL}",
        _row(
            "-2.90 -3.39 -2.39 0.90 3.73 -2.89 -2.99 -0.98 -3.43",
            "0.07 0.02 0.03 0.01 0.12 0.01 0.01 0.01 0.16",
        ),
        _row("4.32 7.19 2.65 0.10 0.01 4.33 4.84 0.65 6.89", "0.29 0.12 0.08 0.00 0.00 0.04 0.03 0.01 0.67"),
    ),
    Published(
        "PBP",
        f"Hernández-Lobato & Adams 2015, in {GAL}",
        _row(
            "-2.57 -3.16 -2.04 0.90 3.73 -2.84 -2.97 -0.97 -1.63",
            "0.09 0.02 0.02 0.01 0.01 0.01 0.00 0.01 0.02",
        ),
        _row("3.01 5.67 1.80 0.10 0.01 4.12 4.73 0.64 1.02", "0.18 0.09 0.05 0.00 0.00 0.03 0.01 0.01 0.05"),
    ),
    Published(
        "MC dropout",
        DROPOUT_2016,
        _row(
            "-2.46 -3.04 -1.99 0.95 3.80 -2.80 -2.89 -0.93 -1.55",
            "0.06 0.02 0.02 0.01 0.01 0.01 0.00 0.01 0.03",
        ),
        _row("2.97 5.23 1.66 0.10 0.01 4.02 4.36 0.62 1.11", "0.19 0.12 0.04 0.00 0.00 0.04 0.01 0.01 0.09"),
    ),
    Published(
        "MC dropout, 10 times as long",
        DROPOUT_2016,
        _row(
            "-2.39 -2.94 -1.72 0.97 3.92 -2.79 -2.87 -0.92 -1.38",
            "0.05 0.02 0.02 0.01 0.01 0.01 0.00 0.01 0.01",
        ),
        _row("2.80 4.81 1.09 0.09 0.00 4.00 4.27 0.61 0.72", "0.19 0.14 0.05 0.00 0.00 0.04 0.01 0.01 0.06"),
    ),
    Published(
        "matrix Gaussian",
        f"Louizos & Welling 2016, in {BASELINES}",
        _row("2.46 3.01 1.06 -1.10 -2.46 2.82 2.84 0.95 1.30", sign=-1),
    ),
    Published(
        "HS-BNN",
        f"Ghosh & Doshi-Velez 2017, in {BASELINES}",
        _row("2.54 3.09 2.66 -1.12 -5.52 2.81 2.89 0.95 2.33", sign=-1),
    ),
    Published(
        "deep ensemble",
        "Lakshminarayanan et al. 2017, table 1",
        _row(
            "2.41 3.06 1.38 -1.20 -5.63 2.79 2.83 0.94 1.18",
            "0.25 0.18 0.22 0.02 0.05 0.04 0.02 0.12 0.21",
            sign=-1,
        ),
        _row("3.28 6.03 2.09 0.09 0.00 4.11 4.71 0.64 1.58", "1.00 0.58 0.29 0.00 0.00 0.17 0.06 0.04 0.48"),
    ),
    Published(
        "MC dropout, tuned",
        "yaringal/DropoutUncertaintyExps, readme.md of 2018",
        _row(
            "-2.40 -2.93 -1.21 1.14 4.45 -2.80 -2.87 -0.93 -1.25",
            "0.04 0.02 0.01 0.01 0.00 0.01 0.00 0.01 0.01",
        ),
        _row("2.90 4.82 0.54 0.08 0.00 4.01 4.27 0.62 0.67", "0.18 0.16 0.06 0.00 0.00 0.04 0.02 0.01 0.05"),
    ),
    Published(
        "MC dropout, two layers",
        DROPOUT_2016,
        _row(
            "-2.34 -2.82 -1.48 1.10 4.32 -2.67 -2.70 -0.90 -1.37",
            "0.02 0.02 0.00 0.00 0.00 0.01 0.00 0.01 0.02",
        ),
        _row("2.80 4.50 0.47 0.08 0.00 3.63 3.62 0.60 0.66", "0.13 0.18 0.01 0.00 0.00 0.04 0.01 0.01 0.06"),
        DEEPER,
    ),
    Published(
        "PBP-MV, two layers",
        f"Sun et al., in {BASELINES}",
        _row("2.54 3.04 1.01 -1.28 -4.85 2.78 2.77 0.97 1.64", sign=-1),
        group=DEEPER,
    ),
    Published(
        "deterministic VI",
        FIXING,
        _row(
            "-2.41 -3.06 -1.01 1.13 6.29 -2.80 -2.85 -0.90 -0.47",
            "0.02 0.01 0.06 0.00 0.04 0.00 0.01 0.01 0.03",
        ),
        group=OTHER,
    ),
    Published(
        "VI by Monte Carlo",
        FIXING,
        _row(
            "-2.46 -3.07 -1.03 1.14 5.94 -2.80 -2.87 -0.92 -0.68",
            "0.02 0.01 0.04 0.00 0.05 0.00 0.01 0.01 0.03",
        ),
        group=OTHER,
    ),
    Published(
        "deep evidential regression",
        "Amini et al. 2020, in Matsubara 2024, Wasserstein Gradient Boosting, table 1",
        _row(
            "2.35 3.01 1.39 -1.24 -5.73 2.81 2.63 0.89 1.03",
            "0.06 0.02 0.06 0.01 0.07 0.07 0.00 0.05 0.19",
            sign=-1,
        ),
        _row("3.06 5.85 2.06 0.09 0.00 4.23 4.64 0.61 1.57", "0.16 0.15 0.10 0.00 0.00 0.09 0.03 0.02 0.56"),
        OTHER,
    ),
    Published(
        "ensemble of ten",
        BASELINES,
        _row("6.11 3.20 0.61 -1.17 - 3.18 3.12 0.97 0.73", sign=-1),
        group=OTHER,
    ),
    Published(
        "refined VI",
        BASELINES,
        _row("2.94 3.08 0.75 -1.06 - 2.83 2.92 0.97 1.68", sign=-1),
        group=OTHER,
    ),
    Published(
        "subspace: SGD",
        SUBSPACE,
        _row("-2.752 -3.178 -1.736 - 6.567 - - - -0.418", "0.132 0.198 1.613 - 0.185 - - - 0.426"),
        _row("3.504 5.194 1.602 - 0.001 - - - 0.973", "0.975 0.446 0.275 - 0.000 - - - 0.374"),
        OTHER,
    ),
    Published(
        "subspace: ESS",
        SUBSPACE,
        _row("-2.719 -3.007 -1.563 - 6.541 - - - -0.225", "0.132 0.086 1.243 - 0.095 - - - 0.400"),
        _row("3.453 5.194 1.598 - 0.001 - - - 0.972", "0.953 0.448 0.274 - 0.000 - - - 0.375"),
        OTHER,
    ),
    Published(
        "subspace: VI",
        SUBSPACE,
        _row("-2.716 -2.994 -1.715 - 6.708 - - - -0.396", "0.133 0.095 1.588 - 0.105 - - - 0.419"),
        _row("3.457 5.142 1.587 - 0.001 - - - 0.973", "0.951 0.418 0.272 - 0.000 - - - 0.375"),
        OTHER,
    ),
    Published(
        "subspace: SWAG",
        SUBSPACE,
        _row("-2.761 -3.013 -1.679 - 6.708 - - - -0.404", "0.132 0.086 1.488 - 0.105 - - - 0.418"),
        _row("3.517 5.233 1.594 - 0.001 - - - 0.973", "0.981 0.417 0.273 - 0.000 - - - 0.375"),
        OTHER,
    ),
)
"""The rows, group by group, the oldest first."""

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
"""Test log-likelihoods of the tuned dropout, split by split: `test_ll_100_xepochs_1_hidden_layers.txt` of its
authors' repository."""
