import pytest
import torch
from torch import nn

from bayessgd.collectors import IterateAverage
from bayessgd.params import flatten
from tests.bayessgd.collectors.runs import flat, network, train, walk


def bound(dtype):
    return 1e-6 if dtype == torch.float32 else 1e-12


def relative(a, b):
    return float((a.double() - b).norm() / b.norm())


def collected(average, net, steps):
    kept = []
    for _ in walk(net, steps=steps):
        average.update()
        kept.append(flat(net))
    return torch.stack(kept)


@pytest.mark.parametrize("steps", [1, 2, 300])
def test_polyak_ruppert_is_the_mean_of_all_iterates(steps, dtype):
    net = network(dtype)
    start = flat(net)
    average = IterateAverage(net)
    iterates = collected(average, net, steps)
    posterior = average.posterior()
    assert len(posterior) == 1
    assert relative(flatten(posterior.mean), iterates.mean(0)) < bound(dtype)
    # Not the form whose buffer starts as the parameters, and not the one whose counter starts at 2.
    assert relative(iterates.mean(0) + start / steps, iterates.mean(0)) > 1e-3


def test_tail_averaging_leaves_the_first_steps_out():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    average = IterateAverage(net)
    average.attach(optimizer, start=15)
    steps = torch.stack(train(net, optimizer, steps=40))
    assert average.num_updates == 25
    assert relative(flatten(average.posterior().mean), steps[15:].mean(0)) < 1e-12


@pytest.mark.parametrize("decay", [0.5, 0.99, 1 - 1e-9])
@pytest.mark.parametrize("steps", [1, 2, 50])
def test_exponential_weights_sum_to_one_from_the_first_update_on(decay, steps, dtype):
    net = network(dtype)
    average = IterateAverage(net, decay=decay)
    iterates = collected(average, net, steps)
    weights = torch.tensor([decay ** (steps - 1 - i) for i in range(steps)], dtype=torch.float64)
    truth = (weights / weights.sum()) @ iterates
    # 1 − β is known to 1e-16/1e-9 relative at the last decay, which moves the weights by n·1e-9 at most.
    assert relative(flatten(average.posterior().mean), truth) < max(bound(dtype), 1e-7 * (decay > 0.999))


@pytest.mark.parametrize("window", [1, 4, 150])
def test_windows_are_means_of_consecutive_iterates(window, dtype):
    net = network(dtype)
    average = IterateAverage(net, window=window)
    steps = 3 * window + window // 2  # what is left over is no draw yet
    iterates = collected(average, net, steps)
    posterior = average.posterior()
    assert len(posterior) == 3
    truth = iterates[: 3 * window].unflatten(0, (3, window)).mean(1)
    assert relative(flatten(posterior.draws, posterior.mean), truth) < bound(dtype)


@pytest.mark.usefixtures("unchecked")
def test_a_long_mean_keeps_six_digits():
    # One block is off by 3.2e-7 (root mean square), the mean of 64 blocks by 4e-8, and the result is rounded to
    # float32, by 6e-8 at most. The bound has four standard deviations, for the largest of 64.
    net = nn.Linear(64, 1, bias=False)
    average, total = IterateAverage(net), torch.zeros(64, dtype=torch.float64)
    random = torch.Generator().manual_seed(0)
    for _ in range(2**14):
        net.weight.data.copy_(1 + 1e-3 * torch.randn(1, 64, generator=random))
        average.update()
        total += net.weight.detach().flatten().double()
    ours = average.posterior().mean["weight"].flatten().double()
    assert float((ours - total / 2**14).abs().max()) < 4 * 4e-8 + 2**-24


def test_iasg_on_a_quadratic_has_the_covariance_of_the_theory():
    # θ ← θ − ε(Aθ + g/√S), A diagonal, g ~ N(0, I): window means have A⁻¹CA⁻¹/(S T) up to corrections of order
    # 1/(ε λ T), here 1/(0.5 · 0.25 · 400) = 2 %. Twenty independent copies of two eigenvalues at once.
    copies, window, draws, batch_size = 20, 400, 10, 10
    a = torch.tensor([1.0, 0.25], dtype=torch.float64).repeat(copies)[None]
    net = nn.Linear(2 * copies, 1, bias=False, dtype=torch.float64)
    net.weight.data.zero_()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    average = IterateAverage(net, window=window)
    random = torch.Generator().manual_seed(5)
    with average.attach(optimizer):
        for _ in range(window * draws):
            noise = torch.randn(1, 2 * copies, generator=random, dtype=torch.float64)
            net.weight.grad = a * net.weight.detach() + noise / batch_size**0.5
            optimizer.step()
    variance = average.posterior().draws["weight"].reshape(-1, 2).square().mean(0)
    truth = 1 / (a[0, :2] ** 2 * batch_size * window)
    # A variance of m = 200 draws has the relative standard error √(2/200) = 10 %: four of them, and the 2 %.
    assert float((variance / truth - 1).abs().max()) < 4 * 0.1 + 0.02


def test_windows_can_be_kept_elsewhere():
    net = network()
    average = IterateAverage(net, window=2, storage_device="cpu")
    collected(average, net, 4)
    assert average.posterior().draws["0.weight"].device.type == "cpu"


def after(updates, **options):
    average = IterateAverage(network(), **options)
    for _ in range(updates):
        average.update()
    return average


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: after(0).posterior(), ValueError, "at least 1 updates, got 0"),
        (lambda: after(4, window=5).posterior(), ValueError, "at least 5 updates, got 4"),
        (lambda: IterateAverage(network(), window=3, decay=0.9), ValueError, "must not both be given"),
        (lambda: IterateAverage(network(), window=0), ValueError, "window must be at least 1"),
        (lambda: IterateAverage(network(), window=2.5), TypeError, "window must be an int"),
        (lambda: IterateAverage(network(), decay=1.0), ValueError, "decay must be between 0 and 1"),
        (lambda: IterateAverage(network(), decay=0.0), ValueError, "decay must be finite and above 0"),
        (lambda: IterateAverage(None), TypeError, "model must be a torch.nn.Module"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
