"""Precision, recall, density and coverage of weighted clouds."""

import numpy as np
import pytest
import torch

from metrics.neighbours.balls import precision_recall_density_coverage
from metrics.neighbours.weighted import radii_of_weight


def values(scores):
    return [getattr(scores, name).item() for name in ("precision", "recall", "density", "coverage")]


def clouds(gen, n=40, m=25, d=2, dtype=torch.float64):
    x, y = (torch.randn(k, d, dtype=dtype, generator=gen) for k in (n, m))
    return x, 0.7 * y + 0.3


def weights(gen, *sizes):
    return [torch.rand(k, dtype=torch.float64, generator=gen) ** 2 + 0.01 for k in sizes]


def written_out(real, fake, a, b, k):
    """The definitions, by loops."""
    a, b = (a / a.sum()).numpy(), (b / b.sum()).numpy()

    def radii(cloud, w):
        gaps = np.linalg.norm(cloud[:, None] - cloud[None], axis=-1)
        found = []
        for i, gap in enumerate(gaps):
            reached = 0.0
            for j in sorted((j for j in range(len(w)) if j != i), key=lambda j: gap[j]):
                reached += w[j]
                if reached >= k * (w**2).sum() * (1 - 1e-12):
                    found.append((gap[j], reached))
                    break
        return np.array(found).T

    real, fake = real.numpy(), fake.numpy()
    (radius_real, content), (radius_fake, _) = radii(real, a), radii(fake, b)
    gap = np.linalg.norm(real[:, None] - fake[None], axis=-1)
    n, m = gap.shape
    precision = sum(b[j] for j in range(m) if any(gap[i, j] <= radius_real[i] for i in range(n)))
    recall = sum(a[i] for i in range(n) if any(gap[i, j] <= radius_fake[j] for j in range(m)))
    inside = sum(a[i] * b[j] for i in range(n) for j in range(m) if gap[i, j] <= radius_real[i])
    coverage = sum(a[i] for i in range(n) if any(gap[i, j] <= radius_real[i] for j in range(m)))
    return [precision, recall, inside / (a @ content), coverage]


@pytest.mark.parametrize(
    ("n", "m", "d", "k"), [(40, 25, 2, 3), (25, 40, 5, 5), (12, 10, 30, 1), (400, 90, 1, 5)]
)
def test_equal_their_definitions(gen, n, m, d, k):
    real, fake = clouds(gen, n, m, d)
    a, b = weights(gen, n, m)
    got = values(precision_recall_density_coverage(real=real, fake=fake, k=k, weights_real=a, weights_fake=b))
    assert got == pytest.approx(written_out(real, fake, a, b, k), rel=1e-12)
    swapped = values(
        precision_recall_density_coverage(real=fake, fake=real, k=k, weights_real=b, weights_fake=a)
    )
    assert swapped[:2] == got[:2][::-1]


@pytest.mark.parametrize("side", ["weights_real", "weights_fake"])
@pytest.mark.parametrize("k", [1, 3, 7])
def test_equal_weights_are_no_weights(gen, dtype, side, k):
    real, fake = clouds(gen, 40, 40, dtype=dtype)
    same = {side: torch.full((40,), 0.7, dtype=dtype)}
    got = values(precision_recall_density_coverage(real=real, fake=fake, k=k, **same))
    want = values(precision_recall_density_coverage(real=real, fake=fake, k=k))
    assert got == pytest.approx(want, rel=1e-12 if dtype == torch.float64 else 1e-7)


def test_points_without_weight_are_not_there(gen):
    real, fake = clouds(gen)
    a, b = weights(gen, 40, 25)
    a[[3, 17]], b[0] = 0, 0
    got = values(precision_recall_density_coverage(real=real, fake=fake, weights_real=a, weights_fake=b))
    kept = {"weights_real": a[a > 0], "weights_fake": b[1:]}
    want = values(precision_recall_density_coverage(real=real[a > 0], fake=fake[1:], **kept))
    assert got == pytest.approx(want, rel=1e-14)
    a[[3, 17]] = 1e-13
    near = values(precision_recall_density_coverage(real=real, fake=fake, weights_real=a, weights_fake=b))
    # Precision and recall ask for any ball, and that of a point of almost no weight is one.
    assert near[2:] == pytest.approx(want[2:], abs=1e-10)


def test_blocks_change_nothing(gen, monkeypatch):
    real, fake = clouds(gen)
    a, b = weights(gen, 40, 25)
    options = {"real": real, "fake": fake, "weights_real": a, "weights_fake": b}
    whole = values(precision_recall_density_coverage(**options))
    monkeypatch.setattr("metrics.neighbours.screening.BLOCK", 100)
    assert values(precision_recall_density_coverage(**options)) == pytest.approx(whole, rel=1e-13)


def test_most_weight_on_few_points_reaches_far(gen):
    """Nine of ten points have next to none: the ball looks past the nearest, and is as the few ones' own."""
    x = torch.randn(600, 2, dtype=torch.float64, generator=gen)
    a = torch.full((600,), 1e-12, dtype=torch.float64)
    a[:60] = 1.0
    found, _ = radii_of_weight(x, a / a.sum(), 3)
    alone, _ = radii_of_weight(x[:60], torch.full((60,), 1 / 60, dtype=torch.float64), 3)
    torch.testing.assert_close(found[:60], alone, rtol=0, atol=0)


def test_equal_laws_have_density_one_whatever_their_weights(gen):
    """The mean over 200 trials within 4 of its errors, 0.015; k/N_a in place of the weight reached would give 1.10."""
    found = []
    for _ in range(200):
        x, y = torch.randn(2, 120, 2, dtype=torch.float64, generator=gen).unbind()
        a = 0.5 + torch.rand(120, dtype=torch.float64, generator=gen)
        found.append(precision_recall_density_coverage(real=x, fake=y, k=5, weights_real=a).density)
    found = torch.stack(found)
    assert abs(found.mean() - 1) < 4 * found.std() / 200**0.5 < 0.02


def test_ties_and_the_order_of_the_points_change_nothing(gen):
    """A grid of points, most with several at one distance."""
    x = torch.randint(0, 4, (40, 2), generator=gen).double()
    y = torch.randint(0, 4, (30, 2), generator=gen).double()
    a, b = weights(gen, 40, 30)
    order = torch.randperm(40, generator=gen)
    got = values(
        precision_recall_density_coverage(real=x[order], fake=y, weights_real=a[order], weights_fake=b)
    )
    want = values(precision_recall_density_coverage(real=x, fake=y, weights_real=a, weights_fake=b))
    assert got == pytest.approx(want, rel=1e-12)


X = torch.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"weights_real": torch.ones(2)}, ValueError, "weights_real must have one entry per sample"),
        ({"weights_fake": -torch.ones(6)}, ValueError, "weights_fake must not be negative"),
        ({"weights_fake": torch.ones(6).double()}, TypeError, "weights_fake must be torch.float32"),
        ({"weights_real": torch.tensor([1.0, 1, 0, 0, 0, 0])}, ValueError, "k must be below 2"),
        ({"weights_real": torch.tensor([9.0, 1, 1, 1, 1, 1])}, ValueError, "spread them more evenly"),
        ({"weights_fake": torch.tensor([2.0, 1, 1, 1, 1, 1]), "k": 4}, ValueError, "pass k = 3 or less"),
    ],
)
def test_refusals(options, error, match):
    with pytest.raises(error, match=match):
        precision_recall_density_coverage(real=X, fake=X, **{"k": 2} | options)


def test_the_remedy_of_a_refusal_works():
    heavy = torch.tensor([2.0, 1, 1, 1, 1, 1])
    precision_recall_density_coverage(real=X, fake=X, k=3, weights_fake=heavy)
