"""Every streaming measure beside the function that it must equal: the conformity table, also for two ranks."""

from dataclasses import dataclass

import torch

from metrics.evaluation import PredictionAccumulator, PredictionComparison, evaluate_predictions
from metrics.gaussians.frechet import frechet_distance
from metrics.kernels.kernel import Gaussian, Laplace, Polynomial
from metrics.kernels.mmd import mmd2
from metrics.neighbours.balls import precision_recall_density_coverage
from metrics.predictions.brier import brier_score
from metrics.predictions.calibration import calibration_error
from metrics.predictions.crps import crps_ensemble
from metrics.streaming import (
    CRPS,
    MMD,
    BrierScore,
    CalibrationError,
    FrechetDistance,
    PrecisionRecallDensityCoverage,
)


def polynomial(x, y):
    """KID's kernel as a plain function."""
    return Polynomial()(x, y)


@dataclass(frozen=True)
class TwoClouds:
    """A measure of clouds: `make` an accumulator, `whole` is the function."""

    make: object
    whole: object
    d: int = 3

    def data(self, dtype=torch.float64, n=57, m=41):
        random = torch.Generator().manual_seed(1)
        real = torch.randn(n, self.d, dtype=dtype, generator=random)
        fake = torch.randn(m, self.d, dtype=dtype, generator=random) * 0.8 + 0.3
        return real, fake

    def feed(self, accumulator, real, fake):
        for name, cloud in (("real", real), ("fake", fake)):
            if len(cloud):
                accumulator.update(**{name: cloud})

    def expected(self, real, fake):
        return self.whole(real, fake)


@dataclass(frozen=True)
class Predictions:
    """A measure of predictions and outcomes, which belong together row by row."""

    make: object
    whole: object
    ensemble: bool = False

    def data(self, dtype=torch.float64, n=57):
        random = torch.Generator().manual_seed(1)
        logits = 2 * torch.randn(n, 5, dtype=dtype, generator=random)
        if self.ensemble:
            return logits, logits[:, 0].roll(1)
        return logits.softmax(1), torch.randint(5, (n,), generator=random)

    def feed(self, accumulator, first, second):
        if len(first):
            accumulator.update(self.samples_first(first), second)

    def expected(self, first, second):
        return self.whole(self.samples_first(first), second)

    def samples_first(self, first):
        return first.T if self.ensemble else first


@dataclass(frozen=True)
class Comparisons:
    """Two models' predictions in one comparison: every value, error and paired difference of it."""

    regression: bool = False

    def data(self, dtype=torch.float64, n=57):
        random = torch.Generator().manual_seed(1)
        logits = 2 * torch.randn(n, 6, 4, dtype=dtype, generator=random) + torch.randn(
            n, 1, 4, generator=random
        )
        if self.regression:
            return logits.to(dtype).flatten(1), logits[:, 0, 0].roll(1).to(dtype)
        return logits.to(dtype).softmax(-1).flatten(1), torch.randint(4, (n,), generator=random)

    def make(self):
        return PredictionAccumulator(baseline="b", chains=2)

    def feed(self, accumulator, first, second):
        if len(first):
            models = self.models(first)
            accumulator.update(models, second, reference=self.reference(models))

    def expected(self, first, second):
        models = self.models(first)
        return evaluate_predictions(models, second, baseline="b", chains=2, reference=self.reference(models))

    def models(self, first):
        first = first.unflatten(1, (6, 4))
        if self.regression:
            return {"a": first[..., 0].T, "b": first[..., 1].T}
        mixed = first.transpose(0, 1)
        return {"a": mixed, "b": (mixed + 1) / (mixed + 1).sum(-1, keepdim=True)}

    def reference(self, models):
        return 0.5 * (models["a"] + models["b"])


def prdc(real, fake):
    return precision_recall_density_coverage(real=real, fake=fake, k=3)


MEASURES = {
    "frechet": TwoClouds(FrechetDistance, frechet_distance),
    "frechet, d > n": TwoClouds(FrechetDistance, frechet_distance, d=80),
    "mmd": TwoClouds(
        lambda: MMD(kernel=Gaussian((0.5, 1.0))), lambda x, y: mmd2(x, y, kernel=Gaussian((0.5, 1.0)))
    ),
    "mmd, biased": TwoClouds(
        lambda: MMD(kernel=Laplace(), unbiased=False),
        lambda x, y: mmd2(x, y, kernel=Laplace(), unbiased=False),
    ),
    "mmd, a function": TwoClouds(lambda: MMD(kernel=polynomial), lambda x, y: mmd2(x, y, kernel=polynomial)),
    "prdc": TwoClouds(lambda: PrecisionRecallDensityCoverage(k=3), prdc),
    "calibration l1": Predictions(
        lambda: CalibrationError(bins=10), lambda p, y: calibration_error(p, y, bins=10)
    ),
    "calibration l2": Predictions(
        lambda: CalibrationError(norm="l2"), lambda p, y: calibration_error(p, y, norm="l2")
    ),
    "calibration max": Predictions(
        lambda: CalibrationError(norm="max"), lambda p, y: calibration_error(p, y, norm="max")
    ),
    "brier": Predictions(BrierScore, brier_score),
    "crps": Predictions(CRPS, crps_ensemble, ensemble=True),
    "crps, fair": Predictions(
        lambda: CRPS(fair=True), lambda x, y: crps_ensemble(x, y, fair=True), ensemble=True
    ),
    "comparison of classes": Comparisons(),
    "comparison of regressions": Comparisons(regression=True),
}


def numbers(value):
    """What compute gave, as a float64 vector."""
    if isinstance(value, PredictionComparison):
        rows = [e for report in value.reports.values() for e in report.estimates.values()]
        rows += [e for found in value.differences.values() for e in found.values()]
        every = [n for e in rows for n in (e.value, e.stderr, e.floor or 0.0, e.floor_stderr or 0.0)]
        return torch.tensor(every, dtype=torch.float64)
    parts = [value] if isinstance(value, torch.Tensor) else [*vars(value).values()]
    return torch.stack(parts).double()
