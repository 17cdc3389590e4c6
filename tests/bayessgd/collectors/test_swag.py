"""SWAG against its definition, from stored iterates in float64, and against the forms that others got wrong."""

import importlib
import math

import pytest
import torch
from torch import Tensor, nn

from bayessgd.collectors import SWAG
from bayessgd.params import flatten
from tests.bayessgd.collectors.runs import flat, network, train, walk


def definition(iterates: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, E[θ²] − mean², and the last K deviations from the mean as it then was: Maddox et al. 2019, alg. 1."""
    means = torch.stack([iterates[: i + 1].mean(0) for i in range(len(iterates))])
    deviations = (iterates - means)[max(0, len(iterates) - rank) :]
    return means[-1], (iterates - means[-1]).square().mean(0), deviations


def covariance(iterates: Tensor, rank: int) -> Tensor:
    _, variance, rows = definition(iterates, rank)
    if not rank:
        return variance.diag()
    return 0.5 * (variance.diag() + rows.T @ rows / (len(rows) - 1))


def dense(posterior) -> Tensor:
    """The covariance of the posterior's torch distribution, [P, P] in float64."""
    law = posterior.to(dtype=torch.float64).to_distribution()
    return law.covariance_matrix if posterior.rank else law.variance.diag()


def collected(swag: SWAG, net: nn.Module, steps: int, **options) -> Tensor:
    iterates = []
    for _ in walk(net, steps=steps, **options):
        swag.update()
        iterates.append(flat(net))
    return torch.stack(iterates)


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("rank", [0, 2, 5, 20])
@pytest.mark.parametrize("steps", [7, 60])
def test_mean_and_covariance_are_those_of_stored_iterates(rank, steps, dtype):
    net = network(dtype)
    swag = SWAG(net, rank=rank)
    iterates = collected(swag, net, steps)
    posterior = swag.posterior()
    # float32: an iterate is some 3 standard deviations large, so a mean rounded to u = 6e-8 of it moves a
    # deviation by 2e-7 of itself and the covariance by about 4e-7.
    bound = 1e-6 if dtype == torch.float32 else 1e-12
    assert posterior.rank == min(rank, steps)
    assert relative(flatten(posterior.mean).double(), iterates.mean(0)) < bound
    assert relative(dense(posterior), covariance(iterates, rank)) < bound


def test_the_variance_keeps_its_digits_where_the_difference_of_squares_has_none():
    # Weights of size 100 that fluctuate by 0.01: E[θ²] is known to 1e4 · 6e-8 = 6e-4 in float32, the variance
    # is 1e-4. Welford's form is off by the rounding of the mean, 100 · 6e-8 / 0.01 = 6e-4 of a deviation.
    net = nn.Linear(50, 1, bias=False)
    start = torch.full((1, 50), 100.0)
    random = torch.Generator().manual_seed(0)
    swag, kept = SWAG(net, rank=0), []
    for _ in range(100):
        net.weight.data.copy_(start + 0.01 * torch.randn(1, 50, generator=random))
        swag.update()
        kept.append(net.weight.detach().flatten().clone())
    iterates = torch.stack(kept)
    truth = iterates.double().var(0, unbiased=False)
    ours = swag.posterior().variance["weight"].flatten().double()
    assert relative(ours, truth) < 5e-3
    squares = torch.stack([theta**2 for theta in iterates]).mean(0) - iterates.mean(0) ** 2
    assert relative(squares.double(), truth) > 0.1


def test_the_initial_weights_are_no_iterate():
    # Elsewhere: the mean buffer starts as a copy of the parameters and the first update adds to it.
    net = network()
    start = flat(net)
    swag = SWAG(net, rank=2)
    iterates = collected(swag, net, 3)
    mean = flatten(swag.posterior().mean)
    buggy = start / 3 + iterates.mean(0)
    assert relative(mean, iterates.mean(0)) < 1e-12
    assert relative(buggy, iterates.mean(0)) > 0.1


def test_every_snapshot_has_the_same_weight():
    # Elsewhere: the counter is 2 after one model, so the second update is weighted 2/3, 1/3.
    net = network()
    swag = SWAG(net, rank=2)
    first, second = collected(swag, net, 2)
    mean = flatten(swag.posterior().mean)
    buggy = first * 2 / 3 + second / 3
    assert relative(mean, (first + second) / 2) < 1e-12
    assert relative(buggy, (first + second) / 2) > 0.05


@pytest.mark.parametrize("stored", [3, 6])
def test_the_divisor_counts_the_columns_that_are_stored(stored):
    # Elsewhere: √K, or √(max_rank − 1) while fewer columns than max_rank are stored.
    rank = 6
    net = network()
    swag = SWAG(net, rank=rank)
    iterates = collected(swag, net, stored)
    _, variance, rows = definition(iterates, rank)
    ours = dense(swag.posterior())
    right = 0.5 * (variance.diag() + rows.T @ rows / (stored - 1))
    assert relative(ours, right) < 1e-12
    by_rank = 0.5 * (variance.diag() + rows.T @ rows / stored)
    assert relative(by_rank, right) > 0.05
    if stored < rank:
        by_max_rank = 0.5 * (variance.diag() + rows.T @ rows / (rank - 1))
        assert relative(by_max_rank, right) > 0.2


def test_deviations_are_from_the_mean_as_it_was_and_in_order():
    net = network()
    swag = SWAG(net, rank=4)
    iterates = collected(swag, net, 11)
    rows = flatten(swag.posterior().deviations, swag.posterior().mean)
    assert relative(rows, definition(iterates, 4)[2]) < 1e-12
    from_the_last_mean = (iterates - iterates.mean(0))[-4:]
    assert relative(rows, from_the_last_mean) > 0.01


def test_snapshots_are_weighted_and_kept_by_snapshot_and_not_by_step():
    # Elsewhere: updates per step weighted by the epoch's index; columns that are the last K steps.
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    swag = SWAG(net, rank=3)
    with swag.attach(optimizer, every=10):
        steps = torch.stack(train(net, optimizer, steps=60))
    snapshots = steps[9::10]
    assert swag.num_updates == 6
    assert relative(flatten(swag.posterior().mean), snapshots.mean(0)) < 1e-12
    assert relative(dense(swag.posterior()), covariance(snapshots, 3)) < 1e-12
    last_steps = steps[-3:] - steps[-3:].mean(0)
    rows = flatten(swag.posterior().deviations, swag.posterior().mean)
    assert relative(last_steps, rows) > 0.5


def test_the_scale_is_half_with_columns_and_one_without():
    # Elsewhere: a default of 1 where the paper's is ½.
    net = network()
    diagonal, low_rank = SWAG(net, rank=0), SWAG(net, rank=3)
    for _ in walk(net, steps=6):
        diagonal.update()
        low_rank.update()
    assert (diagonal.posterior().scale, low_rank.posterior().scale) == (1.0, 0.5)
    assert relative(dense(low_rank.posterior(scale=1.0)), 2 * dense(low_rank.posterior())) < 1e-12
    assert low_rank.posterior(rank=0).scale == 1.0


def test_a_lower_rank_takes_the_latest_columns():
    net = network()
    swag = SWAG(net, rank=5)
    iterates = collected(swag, net, 9)
    assert relative(dense(swag.posterior(rank=3)), covariance(iterates, 3)) < 1e-12


def test_columns_in_bfloat16_are_within_its_rounding():
    net = network(torch.float32)
    swag, exact = SWAG(net, rank=8, columns_dtype=torch.bfloat16), SWAG(net, rank=8)
    for _ in walk(net, steps=20):
        swag.update()
        exact.update()
    rows, truth = swag.posterior().deviations, exact.posterior().deviations
    assert rows["0.weight"].dtype == torch.bfloat16
    for name, row in rows.items():
        # bfloat16 keeps 8 bits, so rounding moves a number by at most 2⁻⁸ of itself.
        torch.testing.assert_close(row.float(), truth[name], rtol=2**-8, atol=0)
    # The moments are not touched by it.
    assert torch.equal(swag.posterior().mean["0.weight"], exact.posterior().mean["0.weight"])
    assert torch.equal(swag.posterior().variance["0.weight"], exact.posterior().variance["0.weight"])


def held(swag: SWAG) -> int:
    return sum(t.nbytes for t in swag.state_dict()["tensors"].values())


def test_memory_is_the_rank_and_two():
    net = nn.Linear(100, 10)
    size = sum(p.nbytes for p in net.parameters())
    for swag, most in (
        (SWAG(net, rank=20), 22 * size),
        (SWAG(net, rank=0), 2 * size),
        (SWAG(net, rank=20, columns_dtype=torch.bfloat16), 12 * size),
    ):
        swag.update()
        assert held(swag) == most


def test_float64_moments_hold_weights_that_hardly_move_and_cost_two_parameters():
    # Iterates of 300 standard deviations: a float32 mean is off by 2e-5 of one, and so is every deviation from
    # it; columns rounded to float32 are off by 6e-8 of themselves.
    net = network(torch.float32)
    swag = SWAG(net, rank=20, moments_dtype=torch.float64)
    iterates = collected(swag, net, 60, spread=0.003)
    assert relative(dense(swag.posterior()), covariance(iterates, 20)) < 1e-6
    assert held(swag) == 24 * sum(p.nbytes for p in net.parameters())


def test_half_precision_parameters_are_averaged_in_float32():
    net = nn.Linear(3, 1, bias=False).to(torch.bfloat16)
    swag, kept = SWAG(net, rank=0), []
    for i in range(40):
        net.weight.data.fill_(1 + i / 128)
        swag.update()
        kept.append(net.weight.detach().flatten().double())
    posterior = swag.posterior()
    assert posterior.mean["weight"].dtype == torch.float32
    assert relative(posterior.mean["weight"].flatten().double(), torch.stack(kept).mean(0)) < 1e-6


def test_float64_moments_follow_a_mean_that_float32_loses():
    # 3000 iterates at 1, then 3000 at 1 + 1e-4: the step 1e-4/n is below half a unit in the last place of
    # 1 (6e-8) from n = 1700 on, so a float32 mean stays where it was; the truth is 1 + 5e-5.
    net = nn.Linear(1, 1, bias=False)
    plain, wide = SWAG(net, rank=0), SWAG(net, rank=0, moments_dtype=torch.float64)
    for value in (1.0, 1.0001):
        net.weight.data.fill_(value)
        for _ in range(3000):
            plain.update()
            wide.update()
    truth = (1 + float(torch.tensor(1.0001))) / 2
    assert abs(wide.posterior().mean["weight"].item() - truth) < 1e-7
    assert abs(plain.posterior().mean["weight"].item() - truth) > 4e-5


def test_a_parameter_that_never_moves_has_no_variance_unless_asked():
    net = nn.Linear(2, 1)
    swag = SWAG(net, rank=2)
    for value in (1.0, 2.0, 3.0):
        net.bias.data.fill_(value)
        swag.update()
    assert (swag.posterior().variance["weight"] == 0).all()
    with pytest.raises(ValueError, match=r"2 parameters never moved; give SWAG\.posterior a"):
        swag.posterior().to_distribution()
    floored = swag.posterior(min_variance=1e-8)
    assert torch.equal(floored.variance["weight"], torch.full((1, 2), 1e-8))
    assert math.isfinite(float(floored.log_prob(floored.mean)))


def test_a_posterior_stays_while_the_collecting_goes_on():
    net = network()
    swag = SWAG(net, rank=2)
    collected(swag, net, 3)
    posterior = swag.posterior()
    before = [posterior.mean["0.weight"].clone(), posterior.deviations["0.weight"].clone()]
    collected(swag, net, 3, seed=9)
    assert torch.equal(posterior.mean["0.weight"], before[0])
    assert torch.equal(posterior.deviations["0.weight"], before[1])


def after(updates: int, **options) -> SWAG:
    net = network()
    swag = SWAG(net, **options)
    for _ in range(updates):
        swag.update()
    return swag


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: SWAG(network(), rank=-1), ValueError, "rank must be at least 0, got -1"),
        (lambda: SWAG(network(), rank=1), ValueError, "rank must be 0 .diagonal. or at least 2"),
        (lambda: SWAG(network(), rank=2.0), TypeError, "rank must be an int"),
        (lambda: SWAG(torch.zeros(3)), TypeError, "model must be a torch.nn.Module"),
        (
            lambda: SWAG(network(), columns_dtype=torch.int8),
            TypeError,
            "columns_dtype must be a floating type",
        ),
        (
            lambda: SWAG(network(), moments_dtype=torch.int8),
            TypeError,
            "moments_dtype must be a floating type",
        ),
        (lambda: after(0).posterior(), ValueError, "at least 2 updates, got 0; train on with attach"),
        (lambda: after(1).posterior(), ValueError, "at least 2 updates, got 1"),
        (
            lambda: after(3, rank=5).posterior(rank=4),
            ValueError,
            "rank must be at most the 3 columns stored .of 3 updates at rank 5., got 4",
        ),
        (lambda: after(9, rank=5).posterior(rank=6), ValueError, "rank must be at most the 5 columns stored"),
        (lambda: after(3).posterior(scale=0.0), ValueError, "scale must be finite and above 0"),
        (
            lambda: after(3).posterior(min_variance=-1.0),
            ValueError,
            "min_variance must be finite and above 0",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_refusal_of_a_run_that_diverged():
    net = network()
    swag = SWAG(net, rank=2)
    collected(swag, net, 3)
    net[0].bias.data.fill_(float("nan"))
    swag.update()
    with pytest.raises(ValueError, match="must be finite, got NaN or infinity; did the training diverge"):
        swag.posterior()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("piece", [5, 10**6])
def test_pieces_and_layouts_change_nothing(memory_format, piece, monkeypatch):
    monkeypatch.setattr(importlib.import_module("bayessgd.collectors.swag"), "PIECE", piece)
    net = nn.Conv2d(3, 4, 2, dtype=torch.float64)
    net.weight.data = net.weight.data.contiguous(memory_format=memory_format)
    swag, seen = SWAG(net, rank=3), []
    random = torch.Generator().manual_seed(0)
    for _ in range(5):
        for p in net.parameters():
            p.data.add_(torch.randn(p.shape, generator=random, dtype=torch.float64))
        swag.update()
        seen.append(net.weight.detach().clone().flatten())
    mean, variance, _ = definition(torch.stack(seen), 3)
    posterior = swag.posterior()
    torch.testing.assert_close(posterior.mean["weight"].flatten(), mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(posterior.variance["weight"].flatten(), variance, rtol=1e-10, atol=1e-12)
