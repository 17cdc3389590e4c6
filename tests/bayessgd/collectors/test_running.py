import pytest
import torch

from bayessgd.collectors._running import BLOCK, RunningMean


@pytest.mark.parametrize("count", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 5])
def test_the_mean_is_the_mean(count, dtype, gen):
    rows = torch.randn(count, 7, dtype=dtype, generator=gen)
    running = RunningMean([rows[0, :3], rows[0, 3:]])
    for row in rows:
        running.add([row[:3], row[3:]])
    # The running mean of up to 256 normal numbers is at most 3 in size and mostly far less; its rounding errors,
    # u/2 of it each, are weighted by k/n and add up as a random walk: u·√(256/36) = 2.7u of a number near 1.
    u = torch.finfo(dtype).eps
    error = torch.cat(running.mean()) - rows.double().mean(0)
    assert float(error.abs().max()) < 8 * u


def test_what_never_moves_is_its_own_mean(dtype):
    # In a plain float32 sum each addition of the same number is rounded the same way: 1e-6 off after 255.
    theta = torch.linspace(-1, 1, 101, dtype=dtype)
    running, total = RunningMean([theta]), torch.zeros_like(theta)
    for _ in range(BLOCK - 1):
        running.add([theta])
        total += theta
    assert torch.equal(running.mean()[0], theta.double())
    assert not torch.equal(total / (BLOCK - 1), theta)
    for _ in range(5 * BLOCK):
        running.add([theta])
    # The blocks' sum in float64 is rounded to 2⁻⁵³ each time.
    torch.testing.assert_close(running.mean()[0], theta.double(), rtol=1e-14, atol=0)


def test_half_precision_is_averaged_in_float32(gen):
    rows = torch.randn(200, 5, generator=gen).bfloat16()
    running = RunningMean([rows[0]])
    for row in rows:
        running.add([row])
    assert float((running.mean()[0] - rows.double().mean(0)).abs().max()) < 8 * 2**-23


def test_clear_begins_anew():
    running = RunningMean([torch.zeros(1)])
    for value in (5.0, 7.0):
        running.add([torch.tensor([value])])
    running.clear()
    running.add([torch.tensor([3.0])])
    assert running.mean()[0].item() == 3.0


@pytest.mark.usefixtures("unchecked")
def test_it_follows_where_a_float32_running_mean_stands_still_and_a_plain_sum_drifts():
    # As in SWAG's test: from n = 1700 on a step of 1e-4/n is lost on a float32 mean near 1. The plain float32 sum
    # of n numbers near 1 is rounded to n·6e-8 each time, always the same way while the number is the same.
    values = [1.0] * 20_000 + [1.0001] * 20_000
    running, naive, total = RunningMean([torch.zeros(1)]), torch.zeros(1), torch.zeros(1)
    for n, value in enumerate(values, 1):
        theta = torch.tensor([value])
        running.add([theta])
        naive.lerp_(theta, 1 / n)
        total.add_(theta)
    truth = (1 + float(torch.tensor(1.0001))) / 2
    ours = abs(running.mean()[0].item() - truth)
    # In all blocks but the one in the middle nothing moves, and that one is 1/157 of the mean.
    assert ours < 1e-7
    assert abs(naive.item() - truth) > 4e-5
    assert abs(total.item() / len(values) - truth) > 2 * ours
