"""What holds for every streaming measure: batches, order, merges, types, saving and loading, refusals."""

import functools
import itertools

import pytest
import torch
from safetensors.torch import load, save

from metrics import files
from metrics.kernels.kernel import Gaussian, Laplace
from metrics.streaming import CRPS, MMD, BrierScore, CalibrationError, FrechetDistance
from tests.metrics.streaming.measures import MEASURES, TwoClouds, numbers

every = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES.keys())
# Sums of 1e3 terms of order 1 in another order differ by about 1e-14; the bound is the one that is promised.
close = functools.partial(torch.testing.assert_close, rtol=1e-10, atol=1e-10)


def fed(measure, first, second, size):
    accumulator = measure.make()
    for start in range(0, max(len(first), len(second)), size):
        measure.feed(accumulator, first[start : start + size], second[start : start + size])
    return accumulator


@every
@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_equals_the_function_for_any_batch_size(measure, size):
    first, second = measure.data()
    got = fed(measure, first, second, size).compute()
    close(numbers(got), numbers(measure.expected(first, second)))


@every
def test_order_of_the_points_does_not_matter(measure, gen):
    first, second = measure.data()
    order = torch.randperm(len(first), generator=gen)
    other = torch.randperm(len(second), generator=gen) if isinstance(measure, TwoClouds) else order
    got = fed(measure, first[order], second[other], 7).compute()
    close(numbers(got), numbers(measure.expected(first, second)))


@every
@pytest.mark.parametrize("cuts", [(20,), (5, 6, 30), (0, 41), (40, 40)])
def test_merges_equal_the_function(measure, cuts):
    """Parts of any sizes, empty ones too, merged from the left and from the right."""
    first, second = measure.data()
    want = numbers(measure.expected(first, second))
    bounds = [0, *cuts, None]

    def parts():
        return [fed(measure, first[a:b], second[a:b], 4) for a, b in itertools.pairwise(bounds)]

    left = functools.reduce(lambda a, b: a.merge(b), parts())
    right = functools.reduce(lambda a, b: b.merge(a), reversed(parts()))
    close(numbers(left.compute()), want)
    close(numbers(right.compute()), want)


@every
def test_merge_leaves_the_other_alone_and_may_go_on(measure):
    first, second = measure.data()
    whole, part = fed(measure, first[:20], second[:20], 7), fed(measure, first[20:40], second[20:40], 7)
    before = {name: tensor.clone() for name, tensor in part.state_dict().items()}
    assert whole.merge(part) is whole
    measure.feed(whole, first[40:], second[40:])
    close(numbers(whole.compute()), numbers(measure.expected(first, second)))
    assert all(torch.equal(part.state_dict()[name], tensor) for name, tensor in before.items())


@every
def test_compute_may_be_asked_at_any_time(measure):
    first, second = measure.data()
    accumulator = fed(measure, first[:30], second[:30], 7)
    close(numbers(accumulator.compute()), numbers(measure.expected(first[:30], second[:30])))
    measure.feed(accumulator, first[30:], second[30:])
    close(numbers(accumulator.compute()), numbers(measure.expected(first, second)))


@every
def test_float32_comes_back_as_float32_and_sums_in_float64(measure):
    first, second = measure.data(dtype=torch.float32)
    got, want = fed(measure, first, second, 3).compute(), measure.expected(first, second)
    for part in [got] if isinstance(got, torch.Tensor) else vars(got).values():
        assert not isinstance(part, torch.Tensor) or part.dtype == torch.float32
    # One rounding to float32 of numbers that agree to 1e-10: at most one unit in the last place apart.
    torch.testing.assert_close(numbers(got), numbers(want), rtol=2e-7, atol=1e-10)


@every
def test_a_batch_may_be_overwritten_and_carries_no_gradient(measure):
    first, second = measure.data()
    want = numbers(measure.expected(first, second))
    buffers = first.clone().requires_grad_(), second.clone()
    accumulator = measure.make()
    measure.feed(accumulator, *buffers)
    with torch.no_grad():
        for buffer in buffers:
            buffer.zero_()
    got = numbers(accumulator.compute())
    assert not got.requires_grad
    close(got, want)


@every
def test_state_comes_back_from_a_safetensors_file(measure, tmp_path):
    first, second = measure.data()
    stopped = fed(measure, first[:20], second[:20], 7)
    files.write(tmp_path / "state", stopped.state_dict(), {})
    resumed = measure.make()
    resumed.load_state_dict(files.read(tmp_path / "state")[0])
    for accumulator in (stopped, resumed):
        measure.feed(accumulator, first[20:], second[20:])
    assert torch.equal(numbers(resumed.compute()), numbers(stopped.compute()))
    close(numbers(resumed.compute()), numbers(measure.expected(first, second)))


@every
def test_safetensors_itself_takes_the_state_of_nothing_and_of_strided_batches(measure):
    first, second = measure.data()
    strided = first.T.contiguous().T, second if second.ndim == 1 else second.T.contiguous().T
    for accumulator in (measure.make(), fed(measure, *strided, 100)):
        state = load(save(accumulator.state_dict()))
        assert all(torch.equal(state[name], tensor) for name, tensor in accumulator.state_dict().items())


@every
def test_state_of_nothing_comes_back(measure):
    first, second = measure.data()
    accumulator = fed(measure, first[:9], second[:9], 4)
    accumulator.load_state_dict(measure.make().state_dict())
    measure.feed(accumulator, first, second)
    close(numbers(accumulator.compute()), numbers(measure.expected(first, second)))


@every
def test_refuses_to_compute_from_nothing(measure):
    with pytest.raises(ValueError, match="at least"):
        measure.make().compute()


@every
def test_refuses_another_type_and_keeps_its_state(measure):
    first, second = measure.data()
    accumulator = fed(measure, first, second, 50)
    with pytest.raises(TypeError, match=r"dtype of the first, torch.float64, got torch.float32"):
        measure.feed(accumulator, *measure.data(dtype=torch.float32))
    close(numbers(accumulator.compute()), numbers(measure.expected(first, second)))


@every
def test_reset_forgets_everything_and_the_type_with_it(measure):
    first, second = measure.data(dtype=torch.float32)
    accumulator = fed(measure, first, second, 7)
    assert accumulator.reset() is accumulator
    with pytest.raises(ValueError, match="at least"):
        accumulator.compute()
    first, second = measure.data()
    measure.feed(accumulator, first, second)
    close(numbers(accumulator.compute()), numbers(measure.expected(first, second)))


@every
def test_to_moves_what_was_fed_and_changes_nothing(measure):
    first, second = measure.data()
    assert measure.make().to("meta").state_dict()["header"].device.type == "cpu"
    accumulator = fed(measure, first[:20], second[:20], 7).to("cpu")
    measure.feed(accumulator, first[20:], second[20:])
    close(numbers(accumulator.compute()), numbers(measure.expected(first, second)))


@every
def test_refuses_itself_and_strangers(measure):
    accumulator = measure.make()
    with pytest.raises(ValueError, match="got itself"):
        accumulator.merge(accumulator)
    with pytest.raises(TypeError, match="other must be a "):
        accumulator.merge("x")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (MMD(kernel=Gaussian(1.0)), MMD(kernel=Gaussian(2.0))),
        (MMD(kernel=Gaussian(1.0)), MMD(kernel=Laplace(1.0))),
        (MMD(kernel=Gaussian(1.0)), MMD(kernel=Gaussian(1.0), unbiased=False)),
        (CalibrationError(), CalibrationError(bins=10)),
        (CalibrationError(), CalibrationError(norm="l2")),
        (CRPS(), CRPS(fair=True)),
    ],
)
def test_refuses_other_settings(one, other):
    with pytest.raises(ValueError, match="other must have the settings"):
        one.merge(other)
    with pytest.raises(ValueError, match="state must have the settings"):
        one.load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: None, TypeError, "state must be a dict of tensors, got NoneType"),
        (lambda s: s | {"total": 1.0}, TypeError, "state must be a dict of tensors"),
        (lambda s: {}, ValueError, "state must have the header"),
        (lambda s: s | {"header": torch.zeros(3, dtype=torch.uint8)}, ValueError, "must have the header"),
        (lambda s: s | {"more": torch.zeros(1)}, ValueError, "state must hold"),
        (lambda s: {k: v for k, v in s.items() if k != "count"}, ValueError, "state must hold"),
        (lambda s: s | {"total": torch.zeros(2)}, ValueError, "total must have shape"),
        (lambda s: s | {"total": torch.zeros((), device="meta")}, ValueError, "state must be on one device"),
        (lambda s: FrechetDistance().state_dict(), ValueError, "state must have the settings"),
    ],
)
def test_refuses_a_broken_state(change, error, message):
    score = BrierScore()
    score.update(torch.tensor([[0.5, 0.5]]), torch.tensor([0]))
    with pytest.raises(error, match=message):
        score.load_state_dict(change(score.state_dict()))
    assert score.compute() == 0.5
