"""What `benchmarks/metrics_speed.py` compares: each measure on one input, ours and its peers."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import metrics_peers as peers
import torch
from metrics_peers import Numbers
from torch import Tensor

import metrics
from metrics.kernels import Gaussian, Polynomial, median_heuristic

__all__ = ["CASES", "LARGE", "Case", "Peer"]

MODULES = {"clean-fid": "cleanfid.fid", "POT": "ot", "pyro-ppl": "pyro", "scikit-learn": "sklearn"}


@dataclass(frozen=True)
class Peer:
    """A distribution, what is called of it, what it does otherwise, and how much faster ours has to be."""

    name: str
    call: Callable[..., Numbers]
    note: str = ""
    bound: str = "> 1"

    def missing(self) -> str:
        """Import the package; return the error's name where that fails, else nothing."""
        try:
            import_module(MODULES.get(self.name, self.name.replace("-", "_")))
        except (ImportError, RuntimeError) as error:  # a RuntimeError where compiled parts do not fit torch
            return type(error).__name__
        return ""


@dataclass(frozen=True)
class Case:
    """A measure on one input."""

    measure: str
    size: str
    inputs: Callable[[], tuple[Tensor, ...]]
    ours: Callable[..., Numbers]
    peers: tuple[Peer, ...] = ()
    repeats: int = 9

    @property
    def warm_up(self) -> int:
        """Rounds that do not count; of three slow ones the median leaves the first out."""
        return 0 if self.repeats <= 3 else 1

    def call(self, contender: str) -> Callable[..., Numbers]:
        """Return what is timed of "ours" or of the peer at an index."""
        return self.ours if contender == "ours" else self.peers[int(contender)].call


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def clouds(n: int, d: int, *, m: int | None = None, shift: float = 0.1) -> tuple[Tensor, Tensor]:
    return normal(n, d), normal(n if m is None else m, d, seed=1) * 1.1 + shift


def gaussians(d: int) -> tuple[Tensor, ...]:
    moments = []
    for seed in (0, 1):
        mix = normal(d, d, seed=seed, dtype=torch.float64) / d**0.5
        moments += [normal(d, seed=2 + seed, dtype=torch.float64), mix @ mix.T + 0.1 * torch.eye(d).double()]
    return tuple(moments)


def forecasts(n: int, classes: int) -> tuple[Tensor, Tensor]:
    """Predictions that are a little too sure; none of exactly 1, which torchmetrics puts into no bin."""
    logits = 1.5 * normal(n, classes)
    labels = torch.multinomial(logits.softmax(1), 1, generator=torch.Generator().manual_seed(1))[:, 0]
    return (1.3 * logits).softmax(1), labels


def prdc(real: Tensor, fake: Tensor) -> Numbers:
    found = metrics.precision_recall_density_coverage(real=real, fake=fake)
    return tuple(map(float, (found.precision, found.recall, found.density, found.coverage)))


def intervals(samples: Tensor, y: Tensor) -> Numbers:
    found = metrics.interval_coverage(samples, y)
    return float(found.coverage), float(found.score)


def one(measure: Callable[..., Tensor], **settings: object) -> Callable[..., Numbers]:
    def call(*inputs: Tensor) -> Numbers:
        return (float(measure(*inputs, **settings)),)

    return call


def precision_recall(real: Tensor, fake: Tensor) -> Numbers:
    found = metrics.precision_recall_density_coverage(real=real, fake=fake)
    return float(found.precision), float(found.recall)


def inception_score(logits: Tensor) -> Numbers:
    found = metrics.inception_score(logits.double().softmax(1), shuffle=False)
    return float(found.mean), float(found.std)


CASES = (
    Case(
        "frechet_distance, FID",
        "2000 × 2000 × 512, float32",
        lambda: clouds(2000, 512),
        one(metrics.frechet_distance),
        (
            Peer("torchmetrics", peers.torchmetrics_frechet),
            Peer("torch-fidelity", peers.fidelity_frechet),
            Peer("clean-fid", peers.cleanfid_frechet),
        ),
        repeats=3,
    ),
    Case(
        "kernel_inception_distance",
        "2000 × 2000 × 512, 20 subsets of 1000, float32",
        lambda: clouds(2000, 512),
        lambda x, y: (float(metrics.kernel_inception_distance(x, y, subsets=20).mean),),
        (
            Peer("torchmetrics", peers.torchmetrics_kid_of_subsets, "its own subsets"),
            Peer("torch-fidelity", peers.fidelity_kid_of_subsets, "its own subsets"),
            Peer("clean-fid", peers.cleanfid_kid, "its own subsets"),
        ),
        repeats=3,
    ),
    Case(
        "inception_score",
        "10 000 × 1008, ten splits; with the error of all, float32",
        lambda: (3 * normal(10_000, 1008),),
        inception_score,
        (Peer("torch-fidelity", peers.fidelity_isc, "no error"),),
        repeats=3,
    ),
    Case(
        "precision and recall",
        "2000 × 2000 × 512, k = 5; with density and coverage, float32",
        lambda: clouds(2000, 512, shift=0.0),
        precision_recall,
        (Peer("torch-fidelity", peers.fidelity_precision_recall, "no density, no coverage"),),
        repeats=3,
    ),
    Case(
        "vendi_score",
        "1000 × 16, Gaussian kernel, float64",
        lambda: (normal(1000, 16, dtype=torch.float64),),
        one(metrics.vendi_score, kernel=Gaussian(1.0)),
        (Peer("vendi-score", peers.vendi),),
        repeats=3,
    ),
    Case(
        "precision_recall_density_coverage",
        "10 000 × 10 000 × 64, float32",
        lambda: clouds(10_000, 64),
        prdc,
        (Peer("prdc", peers.prdc, bound="≥ 3"),),
        repeats=3,
    ),
    Case(
        "bures_wasserstein",
        "d = 2048, float64",
        lambda: gaussians(2048),
        one(metrics.bures_wasserstein),
        (Peer("scipy", peers.scipy_frechet, "sqrtm", "≥ 5"),),
        repeats=3,
    ),
    Case(
        "frechet_distance",
        "4000 × 4000 × 1024, float32",
        lambda: clouds(4000, 1024),
        one(metrics.frechet_distance),
        (
            Peer("torchmetrics", peers.torchmetrics_frechet),
            Peer("torch-fidelity", peers.fidelity_frechet),
        ),
        repeats=3,
    ),
    Case(
        "mmd2(kernel=Polynomial()), KID",
        "2000 × 2000 × 2048, float32",
        lambda: clouds(2000, 2048),
        one(metrics.mmd2, kernel=Polynomial()),
        (
            Peer("torchmetrics", peers.torchmetrics_kid, "100 random subsets of 1000", "≥ 5"),
            Peer("torchmetrics", peers.torchmetrics_kid_of_all, "one subset of all, in float32"),
            Peer("torch-fidelity", peers.fidelity_kid, "100 random subsets of 1000"),
        ),
        repeats=3,
    ),
    Case(
        "crps_ensemble",
        "100 × 1000 members, float32",
        lambda: (normal(100, 1000).T.contiguous(), normal(100, seed=1)),
        one(metrics.crps_ensemble),
        (
            Peer("torchmetrics", peers.torchmetrics_crps, bound="≥ 20"),
            Peer("scoringrules", peers.scoringrules_crps),
        ),
    ),
    Case(
        "energy_score",
        "200 × 100 members × 8, float64",
        lambda: (
            normal(200, 100, 8, dtype=torch.float64).transpose(0, 1).contiguous(),
            normal(200, 8, seed=1, dtype=torch.float64),
        ),
        one(metrics.energy_score),
        (Peer("scoringrules", peers.scoringrules_energy),),
    ),
    Case(
        "crps_gaussian",
        "100 000, float64",
        lambda: (
            normal(100_000, dtype=torch.float64),
            normal(100_000, seed=1, dtype=torch.float64).exp(),
            normal(100_000, seed=2, dtype=torch.float64),
        ),
        one(metrics.crps_gaussian),
        (Peer("scoringrules", peers.scoringrules_gaussian),),
    ),
    Case(
        "calibration_error",
        "100 000 × 10 classes, float32",
        lambda: forecasts(100_000, 10),
        one(metrics.calibration_error),
        (Peer("torchmetrics", peers.torchmetrics_calibration),),
    ),
    Case(
        "brier_score",
        "100 000 × 10 classes, float32",
        lambda: forecasts(100_000, 10),
        one(metrics.brier_score),
        (Peer("scikit-learn", peers.sklearn_brier),),
    ),
    Case(
        "out_of_distribution_auroc",
        "100 000 + 100 000, float32; with its error",
        lambda: (normal(100_000).sigmoid(), (normal(100_000, seed=1) + 1).sigmoid()),
        lambda a, b: (metrics.out_of_distribution_auroc(inside=a, outside=b).value,),
        (
            Peer("scikit-learn", peers.sklearn_auroc, "no error"),
            Peer("torchmetrics", peers.torchmetrics_auroc, "no error"),
        ),
    ),
    Case(
        "interval_coverage",
        "10 000 × 200 members, float64",
        lambda: (
            normal(10_000, 200, dtype=torch.float64).T.contiguous(),
            normal(10_000, seed=1, dtype=torch.float64),
        ),
        intervals,
        (Peer("scoringrules", peers.scoringrules_interval, "quantiles by numpy"),),
    ),
    Case(
        "effective_sample_size, r_hat",
        "4 chains × 1000 draws × 20, float64",
        lambda: (normal(4, 1000, 20, dtype=torch.float64) + normal(4, 1001, 20, dtype=torch.float64)[:, 1:],),
        lambda x: (float(metrics.effective_sample_size(x).mean()), float(metrics.r_hat(x).mean())),
        (
            Peer("pyro-ppl", peers.pyro_chains, "same estimator"),
            Peer("arviz", peers.arviz_chains, "ESS of half-chains"),
        ),
    ),
    Case(
        "energy_distance",
        "5000 × 5000 × 1, float64",
        lambda: tuple(cloud.double() for cloud in clouds(5000, 1)),
        one(metrics.energy_distance),
        (Peer("scipy", peers.scipy_energy),),
    ),
    Case(
        "wasserstein(p=1)",
        "100 000 × 80 000 × 1, float64",
        lambda: tuple(cloud.double() for cloud in clouds(100_000, 1, m=80_000)),
        one(metrics.wasserstein, p=1),
        (Peer("scipy", peers.scipy_wasserstein), Peer("POT", peers.pot_wasserstein_line)),
    ),
    Case(
        "wasserstein(p=2)",
        "1000 × 1000 × 16, float64",
        lambda: tuple(cloud.double() for cloud in clouds(1000, 16)),
        one(metrics.wasserstein),
        (Peer("POT", peers.pot_wasserstein, "whose solver ours calls", "≈ 1"),),
    ),
    Case(
        "sliced_wasserstein",
        "2000 × 2000 × 64, 512 directions, float64",
        lambda: tuple(cloud.double() for cloud in clouds(2000, 64)),
        one(metrics.sliced_wasserstein),
        (Peer("POT", peers.pot_sliced),),
    ),
    Case(
        "nearest_neighbour_accuracy",
        "5000 × 5000 × 64, float64",
        lambda: tuple(cloud.double() for cloud in clouds(5000, 64)),
        one(metrics.nearest_neighbour_accuracy),
        (Peer("scikit-learn", peers.sklearn_nearest),),
        repeats=3,
    ),
)

LARGE = (
    Case(
        "precision_recall_density_coverage",
        "50 000 × 50 000 × 64, float32",
        lambda: clouds(50_000, 64),
        prdc,
        repeats=1,
    ),
    Case(
        "mmd2(kernel=Gaussian(…))",
        "50 000 × 50 000 × 64, float32",
        lambda: clouds(50_000, 64),
        lambda x, y: (float(metrics.mmd2(x, y, kernel=Gaussian(median_heuristic(x[:1000])))),),
        repeats=1,
    ),
)
