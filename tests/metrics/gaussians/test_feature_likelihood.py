"""Feature likelihood divergence: against its definition by autograd, and what it is for."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal

from metrics.gaussians import feature_likelihood, feature_likelihood_divergence


def clouds(gen, n=30, k=40, m=25, d=3):
    samples, train, held_out = (torch.randn(i, d, dtype=torch.float64, generator=gen) for i in (n, k, m))
    return 0.8 * samples + 0.3, 2 * train + 5, 2 * held_out + 5


def normals(centres, logs):
    return Independent(Normal(centres, (logs / 2).exp()[:, None].expand_as(centres)), 1)


def slow(centres, x):
    """The fit by torch.distributions, autograd and Adam; one batch."""
    d = x.shape[1]
    near = torch.stack([(x - c).square().sum(1).min() for c in centres])
    logs = ((near + 1e-3) / d).log().requires_grad_()
    origin = torch.zeros((), dtype=x.dtype, requires_grad=True)
    adam = torch.optim.Adam([logs, origin], lr=0.5)
    inner, losses = x.mean(0) + 0.9 * (x - x.mean(0)), []
    for epoch in range(50):
        adam.zero_grad()
        of_samples = normals(centres, logs).log_prob(x[:, None]) - math.log(len(centres))
        of_origin = normals(x.mean(0)[None], origin[None]).log_prob(inner[:, None])
        loss = -torch.cat([of_samples, of_origin], 1).logsumexp(1).mean() / d
        loss.backward()
        adam.step()
        logs.data.clamp_(-40, 40)
        losses.append(loss.item())
        if epoch > 5 and max(losses[-5:]) - losses[-1] < 5e-4 and losses[-1] - min(losses[-5:]) < 5e-4:
            break
    return logs.detach()


def nll(x, centres, logs):
    return at_each(x, centres, logs).mean()


def at_each(x, centres, logs):
    found = (normals(centres, logs).log_prob(x[:, None]) - math.log(len(centres))).logsumexp(1)
    return -found / x.shape[1]


def test_is_its_definition(gen):
    samples, train, held_out = clouds(gen)
    y, x, z = ((c - held_out.mean(0)) / held_out.std(0) for c in (samples, train, held_out))
    logs = slow(y, x)
    found = feature_likelihood_divergence(
        samples, train=train, held_out=held_out, generator=torch.Generator().manual_seed(7)
    )
    torch.testing.assert_close(found.variances, logs.exp(), rtol=1e-8, atol=0)
    torch.testing.assert_close(found.nll, nll(z, y, logs), rtol=1e-10, atol=0)
    torch.testing.assert_close(found.gap, 100 * (nll(x, y, logs) - nll(z, y, logs)), rtol=1e-9, atol=0)
    # The draws before the baseline's halves: the order of the training data in the fit of the samples.
    random = torch.Generator().manual_seed(7)
    torch.randperm(40, generator=random)
    x = x[torch.randperm(40, generator=random)]
    base = nll(z, x[:20], slow(x[:20], x[20:]))
    torch.testing.assert_close(found.baseline, base, rtol=1e-10, atol=0)
    torch.testing.assert_close(found.value, 100 * (found.nll - base), rtol=1e-9, atol=0)
    # The error: of held-out points those of the difference at each, of samples those of their shares in the mixture.
    apart = at_each(z, y, logs) - at_each(z, x[:20], slow(x[:20], x[20:]))
    shares = 30 * normals(y, logs).log_prob(z[:, None]).softmax(1).mean(0)
    error = 100 * (apart.var() / 25 + shares.var() / 30 / 3**2).sqrt()
    torch.testing.assert_close(found.stderr, error, rtol=1e-7, atol=0)
    given = feature_likelihood_divergence(
        samples, train=train, held_out=held_out, baseline=base, generator=torch.Generator().manual_seed(7)
    )
    alone = 100 * (at_each(z, y, logs).var() / 25 + shares.var() / 30 / 3**2).sqrt()
    torch.testing.assert_close(given.stderr, alone, rtol=1e-7, atol=0)
    one = feature_likelihood_divergence(samples[:1], train=train, held_out=held_out)
    assert one.value.isfinite()
    assert one.stderr == math.inf


@pytest.mark.parametrize("d", [pytest.param(2, marks=pytest.mark.slow), 6])
def test_the_error_is_that_of_fresh_samples_and_held_out_points(d):
    """One training set, 50 times the rest: the spread has an error of 10 %."""
    random = torch.Generator().manual_seed(3)
    train = torch.randn(150, d, generator=random, dtype=torch.float64)
    found = []
    for _ in range(50):
        samples, held_out = torch.randn(2, 100, d, generator=random, dtype=torch.float64)
        found.append(feature_likelihood_divergence(samples + 0.2, train=train, held_out=held_out))
    told = torch.stack([f.stderr for f in found]).square().mean().sqrt()
    assert 0.65 < float(told / torch.stack([f.value for f in found]).std()) < 1.35


def test_is_what_the_authors_code_gives():
    """github.com/marcojira/fld at ffbbf20 in float32, given our baseline: −1.401198, and −2.254522 for the gap."""
    gen = torch.Generator().manual_seed(0)
    train, held_out, samples = (
        torch.randn(n, 6, generator=gen) * torch.linspace(0.5, 2, 6) for n in (400, 300, 250)
    )
    found = feature_likelihood_divergence(0.8 * samples + 0.2, train=train, held_out=held_out)
    assert found.baseline.item() == pytest.approx(1.505057, abs=2e-6)
    assert found.value.item() == pytest.approx(-1.401198, abs=1e-4)
    assert found.gap.item() == pytest.approx(-2.254522, abs=1e-4)


def test_blocks_kept_distances_and_a_given_baseline_change_nothing(gen, monkeypatch):
    samples, train, held_out = clouds(gen)
    whole = feature_likelihood_divergence(samples, train=train, held_out=held_out)
    given = feature_likelihood_divergence(
        samples, train=train, held_out=held_out, baseline=whole.baseline.item()
    )
    monkeypatch.setattr(feature_likelihood, "BLOCK", 100)
    monkeypatch.setattr(feature_likelihood, "KEPT", 10)
    parts = feature_likelihood_divergence(samples, train=train, held_out=held_out)
    for other in (given, parts):
        torch.testing.assert_close(other.value, whole.value, rtol=1e-8, atol=0)
        torch.testing.assert_close(other.variances, whole.variances, rtol=1e-8, atol=0)


def test_batches_and_many_samples_are_drawn_from_the_generator(gen, monkeypatch):
    samples, train, held_out = clouds(gen)
    monkeypatch.setattr(feature_likelihood, "BATCH", 15)
    monkeypatch.setattr(feature_likelihood, "CENTRES", 12)
    one, same, other = (
        feature_likelihood_divergence(
            samples, train=train, held_out=held_out, generator=torch.Generator().manual_seed(seed)
        )
        for seed in (1, 1, 2)
    )
    assert torch.equal(one.value, same.value)
    assert not torch.equal(one.value, other.value)
    assert one.variances.shape == (12,)


def test_copies_blur_and_lost_modes_are_each_worse_than_a_good_model(gen):
    """Two modes in 8 dimensions, 300 points each."""

    def data(count):
        sign = torch.randint(2, (count, 1), generator=gen).double() * 2 - 1
        return 3 * sign + torch.randn(count, 8, dtype=torch.float64, generator=gen)

    train, held_out, good = data(300), data(300), data(300)
    options = {"train": train, "held_out": held_out}
    found = {
        "good": feature_likelihood_divergence(good, **options),
        "copies": feature_likelihood_divergence(train, **options),
        "blurred": feature_likelihood_divergence(good + 2 * torch.randn_like(good), **options),
        "one mode": feature_likelihood_divergence(good.abs(), **options),
    }
    assert abs(found["good"].value) < 10
    assert all(found[name].value > 20 for name in ("copies", "blurred", "one mode"))
    assert found["copies"].gap < -100 < -20 < found["good"].gap


def test_units_and_places_of_columns_do_not_matter(gen):
    samples, train, held_out = clouds(gen)
    scale, shift = torch.tensor([1.0, 1e3, 1e-3]).double(), torch.tensor([0.0, 1e4, -1.0]).double()
    moved = [c * scale + shift for c in (samples, train, held_out)]
    want = feature_likelihood_divergence(samples, train=train, held_out=held_out)
    got = feature_likelihood_divergence(moved[0], train=moved[1], held_out=moved[2])
    torch.testing.assert_close(got.value, want.value, rtol=1e-6, atol=0)


X = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"train": X[:1]}, "train must hold at least 2 samples"),
        ({"held_out": X[:1]}, "held_out must hold at least 2 samples"),
        ({"held_out": torch.ones(6, 2)}, "held_out must vary in every column, got 2 constant ones"),
        ({"train": torch.ones(6, 3)}, "samples and train must have the same number of columns"),
        ({"train": X / 0}, "train must be finite"),
    ],
)
def test_refusals(change, match):
    with pytest.raises(ValueError, match=match):
        feature_likelihood_divergence(X, **{"train": X, "held_out": X} | change)
