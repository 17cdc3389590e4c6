"""What `benchmarks/metrics_values.py` compares: the clouds, our numbers, the peers and why theirs differ."""

from collections.abc import Callable
from dataclasses import dataclass

import metrics_peers as peers
import metrics_values_peers as more
import torch
from metrics_cases import Peer, clouds, inception_score, normal, prdc, precision_recall
from metrics_peers import Numbers
from torch import Tensor

import metrics
from metrics.kernels import Gaussian, Polynomial, aggregated_mmd_test

__all__ = ["TABLES", "Measured", "Table"]


@dataclass(frozen=True)
class Measured:
    """Numbers with their names, ours and the peers'. What is random takes a seed in ours: `random`."""

    names: tuple[str, ...]
    ours: Callable[..., Numbers]
    peers: tuple[Peer, ...]
    random: bool = False


@dataclass(frozen=True)
class Table:
    """Measures of one input."""

    title: str
    inputs: Callable[[], tuple[Tensor, ...]]
    measured: tuple[Measured, ...]


def frechet(x: Tensor, y: Tensor) -> Numbers:
    return (float(metrics.frechet_distance(x, y)),)


def kid(x: Tensor, y: Tensor) -> Numbers:
    return (float(metrics.mmd2(x, y, kernel=Polynomial())),)


def kid_of_subsets(x: Tensor, y: Tensor, *, seed: int = 0) -> Numbers:
    random = torch.Generator().manual_seed(seed)
    return (float(metrics.kernel_inception_distance(x, y, subsets=20, generator=random).mean),)


def mind(x: Tensor, y: Tensor, *, seed: int = 0) -> Numbers:
    random = torch.Generator().manual_seed(seed)
    return (float(metrics.monge_inception_distance(x, y, generator=random)),)


def inception_score_of_all(logits: Tensor) -> Numbers:
    return (float(metrics.inception_score(logits.double().softmax(1), splits=1).value),)


def shuffled_inception_score(logits: Tensor, *, seed: int = 0) -> Numbers:
    random = torch.Generator().manual_seed(seed)
    found = metrics.inception_score(logits.double().softmax(1), generator=random)
    return float(found.mean), float(found.std)


def vendi(kernel: metrics.kernels.Kernel, order: float = 1.0) -> Callable[..., Numbers]:
    return lambda x, y: (float(metrics.vendi_score(x, kernel=kernel, order=order)),)


def aggregated(x: Tensor, y: Tensor, *, seed: int = 0) -> Numbers:
    """Whether the test rejects at 5 %, and the mean p-value of the ten Laplace kernels."""
    random = torch.Generator().manual_seed(seed)
    found = aggregated_mmd_test(
        x, y, kernels=more.agreed_kernels(x, y), relabellings=more.RELABELLINGS, generator=random
    )
    return float(found.p_value <= 0.05), float(found.p_values[:10].mean())


SINGULAR = (
    "roots of eigenvalues that are 0 but for rounding, some 1e-8 each, add up; the singular values of the centred "
    "points in float64 give ours to 1e-15"
)
MEANS = "its means are in float32; of float64 its number is ours to 1e-13"
SUMS = "its sums are in float32, ours in float64: its formula in NumPy's float64 gives ours to 12 digits"


def frechet_beside(numpy: str, torchmetrics: str = "") -> Measured:
    return Measured(
        ("Fréchet distance",),
        frechet,
        (
            Peer("torch-fidelity", peers.fidelity_frechet, numpy),
            Peer("torchmetrics", peers.torchmetrics_frechet, torchmetrics),
            Peer("clean-fid", peers.cleanfid_frechet, numpy),
        ),
    )


FRECHET, FRECHET_SINGULAR = frechet_beside(MEANS), frechet_beside(SINGULAR, SINGULAR)
FRECHET_WIDE = frechet_beside("")
KID = Measured(
    ("KID of all points",),
    kid,
    (
        Peer("torch-fidelity", more.fidelity_kid_of_all, SUMS),
        Peer("torchmetrics", peers.torchmetrics_kid_of_all, SUMS),
        Peer("clean-fid", more.cleanfid_kid_of_all, SUMS),
    ),
)
SUBSETS = Measured(
    ("KID, 20 subsets of 1000",),
    kid_of_subsets,
    (
        Peer("torch-fidelity", peers.fidelity_kid_of_subsets, "other subsets"),
        Peer("torchmetrics", peers.torchmetrics_kid_of_subsets, "other subsets"),
        Peer("clean-fid", peers.cleanfid_kid, "other subsets"),
    ),
    random=True,
)
BALLS = "its balls are open (`<`), ours closed: the same unless distances are equal"
NEIGHBOURS = (
    Measured(("precision", "recall", "density", "coverage"), prdc, (Peer("prdc", peers.prdc, BALLS),)),
    Measured(
        ("precision", "recall"),
        precision_recall,
        (Peer("torch-fidelity", peers.fidelity_precision_recall, "ours has density and coverage too"),),
    ),
)
MIND = Measured(
    ("MIND, 1000 directions",),
    mind,
    (Peer("torch-fidelity", more.fidelity_mind, "other directions"),),
    random=True,
)
COSINE = Polynomial(degree=1, offset=0.0)
VENDI = (
    Measured(
        ("Vendi score, Gaussian kernel",),
        vendi(Gaussian(8.0)),
        (Peer("vendi-score", lambda x, y: more.vendi_gaussian(x)),),
    ),
    Measured(
        ("Vendi score of order 2, Gaussian kernel",),
        vendi(Gaussian(8.0), 2.0),
        (Peer("vendi-score", lambda x, y: more.vendi_gaussian_second(x)),),
    ),
    Measured(
        ("Vendi score, cosine kernel",),
        vendi(COSINE),
        (
            Peer(
                "vendi-score",
                lambda x, y: more.vendi_cosine(x),
                "`score_X` in float32, where eigenvalues that are 0 come out above it and count; of float64 it is ours "
                "to 13 digits. It drops its `q` (vendi.py: `score_K(K, q=1, p=p)`)",
            ),
            Peer(
                "vendi-score",
                lambda x, y: more.vendi_dual(x),
                "`score_dual`, in float32, ours in float64; both from d × d",
            ),
        ),
    ),
)
AGGREGATED = Measured(
    ("MMDAgg rejects at 5 %", "mean p of its Laplace kernels"),
    aggregated,
    (
        Peer(
            "mmdagg",
            more.mmdagg,
            "other relabellings, and a second set for the level. Its dictionary has the p-values of the Laplace "
            "kernels for the Gaussian ones too (np.py: `p_vals[i]` where `idx` is meant); what it rejects is right",
        ),
    ),
    random=True,
)
SPLITS = "other splits; its standard deviation is over S − 1 (× 1.05), the published one over S"
SCORES = (
    Measured(
        ("Inception score of all",),
        inception_score_of_all,
        (
            Peer("torch-fidelity", more.fidelity_isc_of_all),
            Peer("torchmetrics", more.torchmetrics_isc_of_all),
        ),
    ),
    Measured(
        ("Inception score, ten splits in order", "their standard deviation"),
        inception_score,
        (Peer("torch-fidelity", peers.fidelity_isc),),
    ),
    Measured(
        ("Inception score, ten splits at random", "their standard deviation"),
        shuffled_inception_score,
        (Peer("torchmetrics", more.torchmetrics_isc, SPLITS),),
        random=True,
    ),
)


TABLES = (
    Table(
        "n = 2000 against 2000, d = 64",
        lambda: clouds(2000, 64),
        (FRECHET, KID, SUBSETS, *NEIGHBOURS, MIND, *VENDI),
    ),
    Table("n = 10 000 against 10 000, d = 64", lambda: clouds(10_000, 64), (FRECHET, KID, *NEIGHBOURS, MIND)),
    Table(
        "n = 2000 against 2000, d = 8, rounded to halves, so that distances are equal",
        lambda: tuple((2 * cloud).round() / 2 for cloud in clouds(2000, 8)),
        NEIGHBOURS,
    ),
    Table("n = 10 000 logits of 1008 classes", lambda: (3 * normal(10_000, 1008),), SCORES),
    Table("n = 1000 against 1000, d = 64", lambda: clouds(1000, 64), (AGGREGATED,)),
    Table(
        "n = 1000 against 1000 of the same law, d = 64",
        lambda: (normal(1000, 64), normal(1000, 64, seed=1)),
        (AGGREGATED,),
    ),
    Table("n = 4000 against 4000, d = 2048", lambda: clouds(4000, 2048), (FRECHET_WIDE,)),
    Table(
        "n = 1000 against 1000, d = 2048: fewer points than columns",
        lambda: clouds(1000, 2048),
        (FRECHET_SINGULAR,),
    ),
    Table(
        "n = 1000, d = 2048, against itself: 0 is right",
        lambda: (normal(1000, 2048),) * 2,
        (FRECHET_SINGULAR,),
    ),
)
