import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from metrics.distances import distances
from metrics.neighbours.balls import knn_kl, precision_recall_density_coverage
from tests.metrics import dense
from tests.targets import Gaussian, random_gaussian


def values(scores):
    return [getattr(scores, name).item() for name in ("precision", "recall", "density", "coverage")]


def written_out(real, fake, k):
    """The four definitions as loops over scikit-learn's exact neighbours."""
    real, fake = real.double().numpy(), fake.double().numpy()

    def radii(cloud):
        return NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(cloud).kneighbors(cloud)[0][:, k]

    radius_real, radius_fake = radii(real), radii(fake)
    gap = np.linalg.norm(real[:, None] - fake[None], axis=-1)
    n, m = gap.shape
    precision = sum(any(gap[i, j] <= radius_real[i] for i in range(n)) for j in range(m)) / m
    recall = sum(any(gap[i, j] <= radius_fake[j] for j in range(m)) for i in range(n)) / n
    density = sum(gap[i, j] <= radius_real[i] for i in range(n) for j in range(m)) / (k * m)
    coverage = sum(any(gap[i, j] <= radius_real[i] for j in range(m)) for i in range(n)) / n
    return [precision, recall, density, coverage]


@pytest.mark.parametrize(
    ("n", "m", "d", "k"), [(40, 25, 2, 3), (25, 40, 5, 5), (10, 10, 30, 1), (6, 8, 1, 5)]
)
def test_equal_their_definitions(gen, dtype, n, m, d, k):
    real = torch.randn(n, d, dtype=dtype, generator=gen)
    fake = torch.randn(m, d, dtype=dtype, generator=gen) * 0.7 + 0.3
    want = written_out(real, fake, k)
    got = values(precision_recall_density_coverage(real=real, fake=fake, k=k))
    assert got == pytest.approx(want, rel=2 * torch.finfo(dtype).eps)
    swapped = values(precision_recall_density_coverage(real=fake, fake=real, k=k))
    assert swapped[:2] == got[:2][::-1]  # precision and recall are each other's mirror


def test_blocks_change_nothing(gen, monkeypatch):
    x, y = torch.randn(2, 50, 3, generator=gen).unbind()
    whole = values(precision_recall_density_coverage(real=x, fake=y))
    kl = knn_kl(x, y)
    monkeypatch.setattr("metrics.distances.BLOCK", 130)
    assert values(precision_recall_density_coverage(real=x, fake=y)) == whole
    assert knn_kl(x, y) == kl


def test_are_those_of_all_distances(gen):
    x, y = torch.randn(2, 50, 3, dtype=torch.float64, generator=gen).unbind()
    xx, xy, yy = distances(x, x), distances(x, y), distances(y, y)
    found = values(precision_recall_density_coverage(real=y, fake=x, k=4))
    assert found == dense.precision_recall_density_coverage(xx, xy, yy, k=4)
    torch.testing.assert_close(dense.knn_kl(xx, xy, d=3), knn_kl(x, y))


@pytest.mark.parametrize("replications", [100, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("n", "m", "k", "d"), [(30, 30, 3, 1), (20, 45, 5, 1), (20, 45, 5, 300), (40, 12, 1, 16)]
)
def test_expectations_for_equal_laws_are_exact_and_free_of_dimension(gen, n, m, k, d, replications):
    rows = []
    for _ in range(replications):
        real = torch.randn(n, d, dtype=torch.float64, generator=gen)
        fake = torch.randn(m, d, dtype=torch.float64, generator=gen)
        rows.append(values(precision_recall_density_coverage(real=real, fake=fake, k=k))[2:])
    table = torch.tensor(rows)
    se = table.std(0) / replications**0.5
    coverage = 1 - math.prod((n - j) / (n + m - j) for j in range(1, k + 1))
    want = torch.tensor([1.0, coverage])
    assert ((table.mean(0) - want).abs() < 4 * se).all()
    assert (se < 0.05).all()


def test_identical_clouds_duplicates_and_collapse(gen, dtype):
    x = torch.randn(30, 2, dtype=dtype, generator=gen)
    assert values(precision_recall_density_coverage(real=x, fake=x.clone()))[:2] == [1, 1]
    # More copies than k: every ball has radius 0, and closed balls still hold the copies.
    copies = x[:5].repeat(8, 1)
    assert values(precision_recall_density_coverage(real=copies, fake=copies, k=4)) == [1, 1, 2, 1]
    # The hub, the point in most balls; balls hold 6 points each, so it is in at least 6 of them: density ≥
    # 6/5.
    gap = distances(x, x)
    hub = (gap <= gap.sort(1).values[:, 5:6]).sum(0).argmax()
    collapsed = x[hub].repeat(30, 1)
    precision, recall, density, coverage = values(precision_recall_density_coverage(real=x, fake=collapsed))
    assert precision == 1
    assert recall == pytest.approx(1 / 30)
    assert 0 < coverage < 0.6
    assert density >= 6 / 5  # a collapsed model is dense where it is: density says nothing about diversity


def test_no_overlap_is_zero():
    x = torch.arange(10.0)[:, None]
    assert values(precision_recall_density_coverage(real=x, fake=x + 100)) == [0, 0, 0, 0]


@pytest.mark.parametrize(("n", "m", "k"), [(12, 9, 1), (9, 12, 4), (6, 5, 5)])
def test_kl_equals_its_definition(gen, n, m, k):
    x = torch.randn(n, 3, dtype=torch.float64, generator=gen)
    y = torch.randn(m, 3, dtype=torch.float64, generator=gen) + 0.5
    total = 0.0
    for i in range(n):
        rho = sorted((x[i] - x[j]).norm().item() for j in range(n) if j != i)[k - 1]
        nu = sorted((x[i] - point).norm().item() for point in y)[k - 1]
        total += math.log(nu / rho)
    want = 3 / n * total + math.log(m / (n - 1))
    assert knn_kl(x, y, k=k).item() == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_kl_tends_to_the_closed_form(gen, k, shift):
    """Within the replications' error and the bias: (k/n)^{2/d} = 0.005 in the bulk, ten times it in tails."""
    p = random_gaussian(2, gen)
    q = Gaussian(p.mean + shift, 4 * p.cov)
    got = torch.stack([knn_kl(p.sample(1000, gen), q.sample(800, gen), k=k) for _ in range(12)])
    se = got.std() / 12**0.5
    assert abs(got.mean() - p.kl(q)) < 4 * se + 0.05
    assert 4 * se + 0.05 < p.kl(q) / 2


def test_kl_is_free_of_units_and_exact_in_float32(gen, dtype):
    x, y = torch.randn(2, 40, 3, dtype=dtype, generator=gen).unbind()
    want = knn_kl(x, y)
    for scale in (2.0**-20, 2.0**20):
        torch.testing.assert_close(knn_kl(scale * x, scale * y), want)
    double = knn_kl(x.double(), y.double()).item()
    assert want.item() == pytest.approx(double, rel=torch.finfo(dtype).eps)


def test_gradient_of_kl(gen):
    x = torch.randn(7, 2, dtype=torch.float64, generator=gen, requires_grad=True)
    y = torch.randn(6, 2, dtype=torch.float64, generator=gen, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: knn_kl(a, b, k=2), (x, y))


CLOUD = torch.arange(12.0).reshape(6, 2)
BAD = [
    (torch.zeros(3), CLOUD, 1, ValueError, r"must have shape \[n, d\]"),
    (CLOUD, torch.zeros(6, 3), 1, ValueError, "same number of columns"),
    (CLOUD, CLOUD, 0, ValueError, "k must be at least 1"),
    (CLOUD, CLOUD, 6, ValueError, "k must be below 6"),
    (CLOUD, CLOUD, 2.0, TypeError, "k must be an int"),
    (CLOUD, CLOUD.double(), 1, TypeError, "same dtype"),
    (CLOUD, CLOUD * torch.nan, 1, ValueError, "must be finite"),
]


@pytest.mark.parametrize(("x", "y", "k", "error", "message"), BAD)
def test_refusals(x, y, k, error, message):
    with pytest.raises(error, match=message):
        precision_recall_density_coverage(real=x, fake=y, k=k)
    with pytest.raises(error, match=message):
        knn_kl(x, y, k=k)


def test_refusals_of_copies():
    with pytest.raises(ValueError, match="x must not hold 1 copies of a point of x, got 2"):
        knn_kl(torch.cat([CLOUD, CLOUD[:1]]), CLOUD + 0.5, k=1)
    with pytest.raises(ValueError, match="y must not hold 1 copies of a point of x, got 6"):
        knn_kl(CLOUD, CLOUD, k=1)
