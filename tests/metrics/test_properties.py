"""One table of every measure of two clouds, and what each must satisfy whatever the clouds are.

The clouds are *dyadic*: their coordinates are multiples of 1/64 below 16, exact in float32 and float64. So are their
shifts by whole numbers, their rescalings by powers of two, and their images under a permutation of the axes with signs:
the distances between points are then the same to the bit (as sums of few exact squares), and a count of neighbours may
not change by one. Tolerances are for what comes after the distances: sums in another order.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

import metrics as m
from metrics.kernels.kernel import Gaussian, median_heuristic

LIGHT = settings(derandomize=True, deadline=None, max_examples=10, database=None)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


@dataclass(frozen=True)
class Law:
    """A measure of (x, y) and what it satisfies.

    `degree`: f(sx, sy) = s^degree f(x, y); `zero`: f(x, x) = 0; `turns`: rotations leave it; `orders`: which clouds may
    come in any order; `rtol`: of the value, in float64, with the clouds' own scale^degree as the unit.
    """

    name: str
    of: Callable[[Tensor, Tensor], Tensor]
    degree: float
    symmetric: bool = True
    zero: bool = True
    turns: bool = True
    orders: str = "xy"
    rtol: float = 1e-9


def fields(result: object, *names: str) -> Tensor:
    return torch.stack([getattr(result, name) for name in names])


def neighbours(x: Tensor, y: Tensor) -> Tensor:
    found = m.precision_recall_density_coverage(real=y, fake=x, k=3)
    return fields(found, "precision", "recall", "density", "coverage")


def classifier(x: Tensor, y: Tensor) -> Tensor:
    found = m.classifier_two_sample_test(x, y, classifier=KNeighborsClassifier(1))
    return fields(found, "accuracy", "p_value")


def copying(x: Tensor, y: Tensor) -> Tensor:
    found = m.memorisation(x, train=y[::2], held_out=y[1::2])
    return fields(found, "nearer_train", "expected", "stderr", "p_value")


def modes(x: Tensor, y: Tensor) -> Tensor:
    std = median_heuristic(y) / 4
    return fields(m.mode_coverage(x, centres=y, std=std), "modes", "high_quality", "reverse_kl")


LAWS = [
    Law("wasserstein", m.wasserstein, 1),
    Law("wasserstein p=1", lambda x, y: m.wasserstein(x, y, p=1), 1),
    # Its directions are a fixed set, which a rotation does not carry into itself.
    Law("sliced", lambda x, y: m.sliced_wasserstein(x, y, num_projections=16), 1, turns=False),
    # An iteration that stops at a tolerance of 5e-4 of the value; another order of sums may stop it a step later.
    Law("sinkhorn divergence", m.sinkhorn_divergence, 2, rtol=2e-3),
    Law("mmd2, unbiased", m.mmd2, 0, zero=False),
    Law("mmd2", lambda x, y: m.mmd2(x, y, unbiased=False), 0),
    Law("energy", lambda x, y: m.energy_distance(x, y, squared=True), 1),
    # A difference of traces: its rounding is relative to them, which are some hundred times the unit.
    Law("frechet", m.frechet_distance, 2, rtol=1e-8),
    Law("knn_kl", lambda x, y: m.knn_kl(x, y, k=3), 0, symmetric=False, zero=False),
    Law("neighbours", neighbours, 0, symmetric=False, zero=False),
    Law("1-NN", m.nearest_neighbour_accuracy, 0),
    Law("classifier", classifier, 0, symmetric=False, zero=False, turns=False, orders=""),
    Law("memorisation", copying, 0, symmetric=False, zero=False, orders="x"),
    # A sample between two centres belongs to the first of them.
    Law("modes", modes, 0, symmetric=False, zero=False, orders="x"),
]
EACH = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)


@st.composite
def clouds(draw) -> tuple[Tensor, Tensor, torch.Generator]:
    """Two dyadic clouds without copies, in float64, of different sizes and laws; d may exceed both."""
    n, k, d = (draw(st.integers(*range_)) for range_ in ((8, 20), (8, 20), (1, 30)))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    x, y = torch.randn(n, d, generator=random), 1.5 * torch.randn(k, d, generator=random) + 0.5
    # Dyadic by rounding; the first column, all different, is what no copies means for d = 1.
    pooled = (torch.cat([x, y]).clamp(-7, 7) * 64).round().double()
    pooled[:, 0] = (torch.randperm(900, generator=random)[: n + k] - 450).double()
    return (pooled / 64)[:n], (pooled / 64)[n:], random


def near(law: Law, got: Tensor, want: Tensor, dtype: torch.dtype) -> bool:
    """Equal up to sums in another order in float64, and one rounding of the result to its type."""
    assert got.dtype == dtype
    unit = want.double().abs().max().clamp(min=1.0)
    gap = (got.double() - want.double()).abs().max()
    return bool(gap <= unit * max(law.rtol, 4 * torch.finfo(dtype).eps))


def axes_turned(d: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.randperm(d, generator=random), torch.randint(2, (d,), generator=random) * 2 - 1.0


@EACH
@DTYPES
@LIGHT
@given(pair=clouds())
def test_order_shift_and_turn_change_nothing(law, dtype, pair):
    x, y, random = pair[0].to(dtype), pair[1].to(dtype), pair[2]
    want = law.of(x, y)
    assert torch.isfinite(want).all()
    i, j = torch.randperm(len(x), generator=random), torch.randperm(len(y), generator=random)
    mixed = (x[i] if "x" in law.orders else x, y[j] if "y" in law.orders else y)
    assert near(law, law.of(*mixed), want, dtype), "order"
    shift = torch.randint(-8, 9, (x.shape[1],), generator=random).to(dtype)
    assert near(law, law.of(x + shift, y + shift), want, dtype), "shift"
    if law.turns:
        axes, signs = axes_turned(x.shape[1], random)
        turned = (cloud[:, axes] * signs.to(dtype) for cloud in (x, y))
        assert near(law, law.of(*turned), want, dtype), "turn"


@pytest.mark.parametrize("law", [law for law in LAWS if law.turns], ids=lambda law: law.name)
@LIGHT
@given(pair=clouds())
def test_any_rotation_changes_nothing(law, pair):
    """Here the distances are rounded anew, but no two of the points' are equal up to that."""
    x, y, random = pair
    x, y = (cloud + 1e-3 * torch.randn(cloud.shape, generator=random).double() for cloud in (x, y))
    q, _ = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1], generator=random).double())
    assert near(law, law.of(x @ q, y @ q), law.of(x, y), torch.float64)


@EACH
@DTYPES
@LIGHT
@given(pair=clouds(), power=st.integers(-20, 20))
def test_units_come_out_with_the_degree(law, dtype, pair, power):
    """From 1e-6 to 1e6, in powers of two."""
    x, y = pair[0].to(dtype), pair[1].to(dtype)
    scaled = law.of(2.0**power * x, 2.0**power * y)
    assert near(law, scaled / 2.0 ** (power * law.degree), law.of(x, y), dtype)


@pytest.mark.parametrize("law", [law for law in LAWS if law.symmetric], ids=lambda law: law.name)
@DTYPES
@LIGHT
@given(pair=clouds())
def test_symmetry(law, dtype, pair):
    x, y = pair[0].to(dtype), pair[1].to(dtype)
    assert near(law, law.of(y, x), law.of(x, y), dtype)


@pytest.mark.parametrize("law", [law for law in LAWS if law.zero], ids=lambda law: law.name)
@DTYPES
@LIGHT
@given(pair=clouds(), power=st.sampled_from([-20, 0, 20]))
def test_a_cloud_is_at_zero_from_itself_and_not_from_another(law, dtype, pair, power):
    x, y = (2.0**power * cloud.to(dtype) for cloud in pair[:2])
    unit = 2.0 ** (power * law.degree)
    # A root of a rounding: W_2 of float64 squares is exact only to √eps of the cloud's scale.
    assert abs(law.of(x, x.clone()) / unit) <= max(1e-6, law.rtol)
    assert law.of(x, y) / unit > 1e-6


def awkward(kind: str, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two clouds that a formula may divide by zero on."""
    x, y = torch.randn(2, 12, 3, generator=random, dtype=torch.float64).unbind()
    shared = x.clone()
    shared[6:] = y[6:]
    constant = [torch.cat([cloud[:, :2], torch.full((12, 1), 0.3)], 1) for cloud in (x, y)]
    return {
        "identical": (x, x.clone()),
        "duplicates": (x[:4].repeat(3, 1), y[:3].repeat(4, 1)),
        "shared points": (shared, y),
        "all points one": (x[:1].repeat(12, 1), x[:1].repeat(12, 1)),
        "two single points": (x[:1].repeat(12, 1), y[:1].repeat(12, 1)),
        "one single point": (x, y[:1].repeat(12, 1)),
        "constant feature": (constant[0], constant[1]),
        "constant features differ": (constant[0], constant[1] + torch.tensor([0.0, 0.0, 1.0])),
        "all zero": (torch.zeros_like(x), torch.zeros_like(y)),
        "d > n": (x.reshape(2, 18), y.reshape(2, 18)),
        "n = 2": (x[:2], y[:2]),
        "n = 1": (x[:1], y[:1]),
        "n = 2 against many": (x[:2], y),
        "far apart": (x, y + 1e3),
        "far from the origin": (x + 1e3, y + 1e3),
        "one outlier": (torch.cat([x, torch.full((1, 3), 1e4)]), y),
    }[kind]


KINDS = [
    "identical",
    "duplicates",
    "shared points",
    "all points one",
    "two single points",
    "one single point",
    "constant feature",
    "constant features differ",
    "all zero",
    "d > n",
    "n = 2",
    "n = 1",
    "n = 2 against many",
    "far apart",
    "far from the origin",
    "one outlier",
]
SCALES = [1e-6, 1.0, 1e6]


def value_or_refusal(law: Law, x: Tensor, y: Tensor) -> Tensor | str:
    try:
        return law.of(x, y)
    except ValueError as refusal:
        return str(refusal)


@EACH
@DTYPES
@settings(LIGHT, max_examples=len(KINDS) * len(SCALES))  # each once: examples do not repeat
@given(kind=st.sampled_from(KINDS), scale=st.sampled_from(SCALES))
def test_right_or_refused_but_never_nan(law, dtype, kind, scale):
    """A refusal names an argument and what to do; a value is finite, at every scale, and so is the limit of a copy."""
    x, y = (scale * c.to(dtype) for c in awkward(kind, torch.Generator().manual_seed(0)))
    value = value_or_refusal(law, x, y)
    if isinstance(value, str):
        assert re.search(r"\bmust\b.*\bgot\b", value)
        return
    assert value.dtype == dtype
    assert torch.isfinite(value).all()
    # Where all points are one, each ties with every other: a nearest neighbour has no say.
    same = ("identical",) if law.name == "1-NN" else ("identical", "all points one", "all zero")
    if law.zero and kind in same:
        # Where the mean cost is 0 there is no unit: ε is 1, and its rounding absolute.
        assert abs(value) <= max(1e-6, law.rtol) * scale**law.degree + 1e-15


@DTYPES
@LIGHT
@given(pair=clouds(), power=st.integers(-20, 20))
def test_the_witness_has_its_mmd_and_no_unit(dtype, pair, power):
    x, y = (2.0**power * cloud.to(dtype) for cloud in pair[:2])
    kernel = Gaussian(2.0**power)
    gap = m.mmd_witness(x, x, y, kernel=kernel).mean() - m.mmd_witness(y, x, y, kernel=kernel).mean()
    want = m.mmd2(x, y, kernel=kernel, unbiased=False)
    assert abs(gap - want) <= 8 * torch.finfo(dtype).eps
