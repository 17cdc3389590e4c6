import pytest
import torch

from bayessgd.collectors._running import BLOCK, RunningSum


@pytest.mark.parametrize("count", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 5])
def test_the_mean_is_the_mean(count, dtype, gen):
    rows = torch.randn(count, 7, dtype=dtype, generator=gen)
    running = RunningSum([rows[0, :3], rows[0, 3:]])
    for row in rows:
        running.add([row[:3], row[3:]])
    # Of a block's n terms the sum has partial sums of about √n and each is rounded once, to u of itself.
    u = torch.finfo(dtype).eps
    error = torch.cat(running.mean()) - rows.double().mean(0)
    assert float(error.abs().max()) < 4 * u


def test_clear_begins_anew():
    running = RunningSum([torch.zeros(1)])
    for value in (5.0, 7.0):
        running.add([torch.tensor([value])])
    running.clear()
    running.add([torch.tensor([3.0])])
    assert running.mean()[0].item() == 3.0


def test_it_follows_where_a_float32_running_mean_stands_still_and_a_plain_sum_drifts():
    # As in SWAG's test: from n = 1700 on a step of 1e-4/n is lost on a float32 mean near 1. The plain float32
    # sum of n numbers near 1 is rounded to n·6e-8 each time, always the same way while the number is the same.
    values = [1.0] * 20_000 + [1.0001] * 20_000
    running, naive, total = RunningSum([torch.zeros(1)]), torch.zeros(1), torch.zeros(1)
    for n, value in enumerate(values, 1):
        theta = torch.tensor([value])
        running.add([theta])
        naive.lerp_(theta, 1 / n)
        total.add_(theta)
    truth = (1 + float(torch.tensor(1.0001))) / 2
    ours = abs(running.mean()[0].item() - truth)
    # A block's sum below 128 is rounded to 2⁻¹⁸·½ per addition at most, 128 times, always alike here: u·128/2.
    assert ours < 64 * 2**-24
    assert abs(naive.item() - truth) > 4e-5
    assert abs(total.item() / len(values) - truth) > 2 * ours
