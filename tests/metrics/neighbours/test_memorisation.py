import itertools
import math

import pytest
import torch

from metrics.neighbours.memorisation import memorisation


def clouds(gen, sizes=(30, 20, 25), d=2, dtype=torch.float64):
    return [torch.randn(n, d, dtype=dtype, generator=gen) for n in sizes]


def test_moments_are_those_of_all_relabellings(gen):
    """Every choice of 4 training points among 9: the mean and the spread of the share, exactly."""
    samples, train, held_out = clouds(gen, (15, 4, 5))
    pooled = torch.cat([train, held_out])
    shares = []
    for chosen in itertools.combinations(range(9), 4):
        rest = [i for i in range(9) if i not in chosen]
        result = memorisation(samples, train=pooled[list(chosen)], held_out=pooled[rest])
        shares.append(result.nearer_train)
    shares = torch.stack(shares)
    result = memorisation(samples, train=train, held_out=held_out)
    assert len(shares) == math.comb(9, 4)
    assert result.expected.item() == pytest.approx(4 / 9)
    torch.testing.assert_close(shares.mean(), result.expected)
    torch.testing.assert_close(shares.std(unbiased=False), result.stderr)


def test_share_equals_its_definition(gen, dtype):
    samples, train, held_out = clouds(gen, dtype=dtype)
    nearer = [
        min((s - t).norm() for t in train) < min((s - h).norm() for h in held_out) for s in samples.double()
    ]
    got = memorisation(samples, train=train, held_out=held_out)
    assert got.nearer_train.item() == pytest.approx(sum(map(bool, nearer)) / 30, rel=1e-6)
    assert got.nearer_train.dtype == dtype


def test_fresh_samples_are_at_chance_and_p_values_uniform(gen):
    """z = (share − expected)/stderr has mean 0 and variance 1 over 400 draws, also of a collapsed generator."""
    z = []
    for k in range(400):
        samples, train, held_out = clouds(gen, (60, 40, 50))
        samples = samples * 0.3 if k % 2 else samples
        got = memorisation(samples, train=train, held_out=held_out)
        z.append((got.nearer_train - got.expected) / got.stderr)
        assert got.p_value.item() == pytest.approx(0.5 * math.erfc(z[-1].item() / 2**0.5), rel=1e-9)
    z = torch.stack(z)
    assert abs(z.mean()) < 4 / 20
    # The variance of a sample variance of 400 normal values is 2/399.
    assert abs(z.var() - 1) < 4 * (2 / 399) ** 0.5


def test_copies_are_caught_and_the_reverse_is_not_called_copying(gen):
    _, train, held_out = clouds(gen, (1, 100, 100))
    noise = 1e-4 * torch.randn(100, 2, dtype=torch.float64, generator=gen)
    copies = memorisation(train + noise, train=train, held_out=held_out)
    assert copies.nearer_train > 0.97
    assert copies.p_value < 1e-9
    assert memorisation(held_out + noise, train=train, held_out=held_out).p_value > 1 - 1e-9


def test_one_repeated_copy_is_no_evidence(gen):
    """A collapse onto one point is one coincidence, however many samples repeat it."""
    _, train, held_out = clouds(gen, (1, 50, 50))
    got = memorisation(train[:1].repeat(500, 1), train=train, held_out=held_out)
    assert got.nearer_train == 1
    assert got.stderr == pytest.approx(0.5, rel=1e-9)
    assert got.p_value > 0.15


def test_ties_are_shared():
    train, held_out = torch.tensor([[0.0], [5.0]]), torch.tensor([[2.0], [9.0]])
    got = memorisation(torch.tensor([[1.0]]), train=train, held_out=held_out)
    assert got.nearer_train == 0.5
    same = memorisation(train, train=train, held_out=train.clone())
    assert (same.nearer_train, same.stderr, same.p_value) == (0.5, 0, 0.5)


@pytest.mark.parametrize(
    ("samples", "train", "held_out", "error", "message"),
    [
        (
            torch.zeros(3),
            torch.zeros(2, 1),
            torch.zeros(2, 1),
            ValueError,
            r"samples must have shape \[n, d\]",
        ),
        (torch.zeros(3, 1), torch.zeros(2, 2), torch.zeros(2, 1), ValueError, "samples and train must have"),
        (
            torch.zeros(3, 1),
            torch.zeros(2, 1),
            torch.zeros(2, 2),
            ValueError,
            "samples and held_out must have",
        ),
        (torch.zeros(3, 1), torch.zeros(0, 1), torch.zeros(2, 1), ValueError, "train must not be empty"),
        (torch.zeros(3, 1), torch.zeros(2, 1), torch.zeros(2, 1) / 0, ValueError, "held_out must be finite"),
        (torch.zeros(3, 1), torch.zeros(2, 1).double(), torch.zeros(2, 1), TypeError, "same dtype"),
    ],
)
def test_refusals(samples, train, held_out, error, message):
    with pytest.raises(error, match=message):
        memorisation(samples, train=train, held_out=held_out)
