import importlib
import math
import re

import numpy as np
import pytest
import torch

from metrics.kernels.energy import energy_distance
from metrics.predictions import crps_ensemble, crps_gaussian, energy_score

F64 = torch.float64


def slow_score(samples, y, *, fair):
    """The definition, over all pairs: [n, M, d] and [n, d]."""
    members = samples.shape[1]
    pairs = members * (members - 1) if fair else members**2
    distance = (samples - y[:, None]).norm(dim=2).mean(1)
    within = (samples[:, :, None] - samples[:, None]).norm(dim=3).sum((1, 2))
    return distance - within / (2 * pairs)


def slow_integral(samples, y):
    """∫ (F(t) − 1[y ≤ t])² dt, exactly: the integrand is constant between the sorted points."""
    points = np.sort(np.append(samples, y))
    left = points[:-1]
    share = (samples[None] <= left[:, None]).mean(1)
    return float(((share - (y <= left)) ** 2 * np.diff(points)).sum())


@pytest.mark.parametrize("fair", [False, True])
@pytest.mark.parametrize("members", [2, 3, 10, 41])
def test_crps_equals_the_sum_over_pairs(gen, members, fair):
    samples = torch.randn(30, members, dtype=F64, generator=gen)
    y = 2 * torch.randn(30, dtype=F64, generator=gen)
    want = slow_score(samples[..., None], y[:, None], fair=fair)
    # The slow form subtracts two means of about 1.
    torch.testing.assert_close(
        crps_ensemble(samples.T, y, fair=fair, per_point=True), want, rtol=1e-12, atol=1e-14
    )


def test_crps_is_the_integral(gen):
    samples = torch.randn(20, 7, dtype=F64, generator=gen)
    y = torch.randn(20, dtype=F64, generator=gen)
    want = [slow_integral(a, b) for a, b in zip(samples.numpy(), y.numpy(), strict=True)]
    torch.testing.assert_close(crps_ensemble(samples.T, y, per_point=True), torch.tensor(want, dtype=F64))


def test_crps_of_ties_and_of_one_member(dtype):
    y = torch.tensor([1.0, 3.0], dtype=dtype)
    same = torch.ones(5, 2, dtype=dtype)
    for fair in (False, True):
        assert crps_ensemble(same, y, fair=fair, per_point=True).tolist() == [0, 2]
    assert crps_ensemble(same[:1], y, per_point=True).tolist() == [0, 2]


def test_crps_does_not_cancel_far_from_the_origin():
    """Multiples of 2⁻²⁰ shifted by 2²⁰ are exact in float64: not one digit may change."""
    generator = torch.Generator().manual_seed(1)
    samples = torch.randint(2**20, (50, 10), generator=generator).double() / 2**20
    y = torch.randint(2**20, (10,), generator=generator).double() / 2**20
    assert torch.equal(crps_ensemble(samples + 2**20, y + 2**20), crps_ensemble(samples, y))


@pytest.mark.parametrize("fair", [False, True])
@pytest.mark.parametrize("d", [1, 3])
def test_energy_score_equals_the_sum_over_pairs(gen, d, fair):
    samples = torch.randn(12, 9, d, dtype=F64, generator=gen)
    y = torch.randn(12, d, dtype=F64, generator=gen)
    got = energy_score(samples.transpose(0, 1), y, fair=fair, per_point=True)
    torch.testing.assert_close(got, slow_score(samples, y, fair=fair), rtol=1e-12, atol=1e-14)
    if d == 1:
        crps = crps_ensemble(samples[..., 0].T, y[:, 0], fair=fair, per_point=True)
        torch.testing.assert_close(got, crps, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("module", ["energy_score", "crps"])
def test_scores_by_pieces_are_those_of_the_whole(gen, module, monkeypatch):
    samples, y = torch.randn(7, 5, 3, dtype=F64, generator=gen), torch.randn(5, 3, dtype=F64, generator=gen)
    vector = module == "energy_score"
    score, args = (energy_score, (samples, y)) if vector else (crps_ensemble, (samples[..., 0], y[:, 0]))
    whole = score(*args, per_point=True)
    # Fewer numbers in a piece than one prediction has samples: each of them alone.
    monkeypatch.setattr(importlib.import_module(f"metrics.predictions.{module}"), "BLOCK", 3)
    torch.testing.assert_close(score(*args, per_point=True), whole, rtol=1e-13, atol=1e-14)


def test_scoringrules_documented_energy_score():
    members = [
        (0.79546742, 0.02461368),
        (0.4777960, 0.7584595),
        (0.2164079, 0.3181810),
        (0.5409873, 0.1319422),
    ]
    samples, y = torch.tensor(members, dtype=F64)[:, None], torch.tensor([(0.2743836, 0.8146400)], dtype=F64)
    # Half of the last printed digit.
    assert energy_score(samples, y).item() == pytest.approx(0.3949793, abs=5e-8)


def test_the_score_of_a_cloud_of_outcomes_is_half_the_energy_distance(gen):
    """Mean over outcomes of the score of one ensemble, less the outcomes' own spread, is D²/2."""
    x, y = torch.randn(15, 2, dtype=F64, generator=gen), torch.randn(11, 2, dtype=F64, generator=gen) + 1
    score = energy_score(x[:, None].expand(-1, 11, -1), y)
    own = energy_score(y[:, None].expand(-1, 11, -1), y)
    torch.testing.assert_close(score - own, energy_distance(x, y, squared=True) / 2)


@pytest.mark.parametrize("members", [2, 3, 8])
def test_the_fair_crps_is_unbiased_at_every_size(gen, members):
    """Against the closed form of the law behind the members, N(0.5, 1.5²), and the known excess of the other."""
    n, mean, std = 20000, 0.5, 1.5
    samples = mean + std * torch.randn(members, n, dtype=F64, generator=gen)
    y = torch.zeros(n, dtype=F64)
    want = crps_gaussian(y + mean, torch.full_like(y, std), y).item()
    excess = 2 * std / math.sqrt(math.pi) / (2 * members)  # E|X − X'| = 2σ/√π
    for fair, expected in ((True, want), (False, want + excess)):
        scores = crps_ensemble(samples, y, fair=fair, per_point=True)
        se = scores.std().item() / n**0.5
        assert abs(scores.mean().item() - expected) < 4 * se
        assert excess > 8 * se


@pytest.mark.parametrize("members", [2, 5])
def test_the_fair_energy_score_is_unbiased_at_every_size(gen, members):
    """N(0, I₂) at its centre: E‖X‖ = √(π/2) and E‖X − X'‖ = √2 √(π/2)."""
    n, radius = 20000, math.sqrt(math.pi / 2)
    samples = torch.randn(members, n, 2, dtype=F64, generator=gen)
    scores = energy_score(samples, torch.zeros(n, 2, dtype=F64), fair=True, per_point=True)
    se = scores.std().item() / n**0.5
    assert abs(scores.mean().item() - radius * (1 - 1 / math.sqrt(2))) < 4 * se


@pytest.mark.parametrize(("mean", "std"), [(0.6, 1.0), (0.0, 1.8), (0.0, 0.5)])
def test_the_truth_has_the_lowest_expected_fair_score(gen, mean, std):
    """Five members each: the plain CRPS would prefer the narrow law, the fair one does not."""
    n = 20000
    noise = torch.randn(5, n, dtype=F64, generator=gen)
    y = torch.randn(n, dtype=F64, generator=gen)
    for score, args in ((crps_ensemble, (y,)), (energy_score, (y[:, None],))):
        shape = (5, n) if score is crps_ensemble else (5, n, 1)
        wrong = score((mean + std * noise).reshape(shape), *args, fair=True, per_point=True)
        excess = wrong - score(noise.reshape(shape), *args, fair=True, per_point=True)
        assert excess.mean() > 4 * excess.std() / n**0.5


def test_blocks_change_nothing(gen, monkeypatch):
    samples, y = torch.randn(6, 9, 2, dtype=F64, generator=gen), torch.randn(9, 2, dtype=F64, generator=gen)
    crps, energy = (
        crps_ensemble(samples[..., 0], y[:, 0], per_point=True),
        energy_score(samples, y, per_point=True),
    )
    for block in (80, 13):  # some outcomes at once, and some members of one outcome at once
        for file in ("crps", "energy_score"):
            monkeypatch.setattr(importlib.import_module(f"metrics.predictions.{file}"), "BLOCK", block)
        torch.testing.assert_close(
            crps_ensemble(samples[..., 0], y[:, 0], per_point=True), crps, rtol=0, atol=0
        )
        # Only the order of the sum over pairs changes.
        torch.testing.assert_close(energy_score(samples, y, per_point=True), energy, rtol=1e-13, atol=1e-15)


def test_members_in_any_order_and_any_unit(gen, dtype):
    samples, y = (
        torch.randn(6, 9, 2, dtype=dtype, generator=gen),
        torch.randn(9, 2, dtype=dtype, generator=gen),
    )
    shuffled = samples[torch.randperm(6, generator=gen)]
    eps = torch.finfo(dtype).eps
    for score, a, b, c in (
        (energy_score, samples, shuffled, y),
        (crps_ensemble, samples[..., 0], shuffled[..., 0], y[:, 0]),
    ):
        assert score(a, c).dtype == dtype
        torch.testing.assert_close(score(b, c), score(a, c), rtol=2 * eps, atol=0)
        # A power of two scales without rounding.
        torch.testing.assert_close(
            score(2.0**20 * a, 2.0**20 * c), 2.0**20 * score(a, c), rtol=2 * eps, atol=0
        )


@pytest.mark.parametrize("fair", [False, True])
def test_gradients(gen, fair):
    samples, y = torch.randn(4, 3, 2, dtype=F64, generator=gen), torch.randn(3, 2, dtype=F64, generator=gen)
    both = (samples.requires_grad_(), y.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: energy_score(a, b, fair=fair), both)
    assert torch.autograd.gradcheck(lambda a, b: crps_ensemble(a[..., 0], b[:, 0], fair=fair), both)


def test_gradient_at_ties_is_finite():
    samples, y = torch.zeros(3, 2, 2, requires_grad=True), torch.zeros(2, 2)
    (energy_score(samples, y) + crps_ensemble(samples[..., 0], y[:, 0])).backward()
    assert torch.equal(samples.grad, torch.zeros_like(samples))


@pytest.mark.parametrize("score", [crps_ensemble, energy_score])
def test_takes_what_predict_returns(gen, score):
    """[samples, n, outputs] and [n, outputs]: entry by entry for the CRPS, as one vector for the energy score."""
    samples, y = torch.randn(7, 4, 3, dtype=F64, generator=gen), torch.randn(4, 3, dtype=F64, generator=gen)
    got = score(samples, y, per_point=True)
    if score is crps_ensemble:
        want = torch.stack([crps_ensemble(samples[..., k], y[:, k], per_point=True) for k in range(3)], 1)
    else:
        want = slow_score(samples.transpose(0, 1), y, fair=False)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(score(samples[..., 0], y[:, 0]), crps_ensemble(samples[..., 0], y[:, 0]))


SAMPLES, Y = torch.zeros(4, 3), torch.zeros(3)


@pytest.mark.parametrize("score", [crps_ensemble, energy_score])
@pytest.mark.parametrize(
    ("samples", "y", "obeyed"),
    [
        (SAMPLES.T, Y, (SAMPLES, Y)),  # "pass samples.transpose(0, 1)"
        (SAMPLES[..., None], Y, (SAMPLES, Y)),  # "with samples[..., 0]"
        (SAMPLES, Y[:, None], (SAMPLES, Y)),  # "with y[..., 0]"
    ],
)
def test_refusals_have_a_remedy_that_is_right(score, samples, y, obeyed):
    with pytest.raises(ValueError, match=r"samples must have shape \[samples, n, ...\]") as refusal:
        score(samples, y)
    told, seen = str(refusal.value), {"samples": samples, "y": y}
    remedy = re.search(r"(samples|y)(\.transpose\(0, 1\)|\[\.\.\., 0\])$", told)
    seen[remedy[1]] = eval(remedy[0], {}, seen)
    assert [part.shape for part in seen.values()] == [part.shape for part in obeyed]
    score(**seen)


@pytest.mark.parametrize("score", [crps_ensemble, energy_score])
@pytest.mark.parametrize(
    ("samples", "y", "fair", "error", "message"),
    [
        (SAMPLES, Y[:2], False, ValueError, r"y's shape \[2\] after the first dimension, got \[4, 3\]"),
        (SAMPLES[:1], Y, True, ValueError, "at least 2 samples for a fair score, got 1"),
        (SAMPLES[:0], Y, False, ValueError, "samples must not be empty"),
        (SAMPLES.double(), Y, False, TypeError, "same dtype"),
        (SAMPLES.long(), Y, False, TypeError, "float32 or float64"),
        (SAMPLES * torch.nan, Y, False, ValueError, "samples must be finite"),
        (SAMPLES[0], Y, False, ValueError, r"samples must have shape \[samples, n, ...\]"),
        (SAMPLES, Y.half(), False, TypeError, "y must be float32 or float64"),
        (SAMPLES[..., None], Y[:, None].expand(3, 2), False, ValueError, r"\[3, 2\] after the first"),
    ],
)
def test_refusals(score, samples, y, fair, error, message):
    with pytest.raises(error, match=message):
        score(samples, y, fair=fair)
