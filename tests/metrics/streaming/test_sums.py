import torch

from metrics.streaming.sums import Sums


def test_float32_sums_add_in_float64():
    sums = Sums({"total": torch.zeros(())})
    for _ in range(3):
        sums.absorb(Sums({"total": torch.tensor(2.0**24 + 2, dtype=torch.float64)}))
    # 3 · (2²⁴ + 2) is no float32.
    assert sums["total"].item() == 3 * 2**24 + 6
    assert Sums({"total": torch.zeros(())})["total"].dtype == torch.float64


def test_absorbing_does_not_write_into_the_other():
    one, other = Sums({"a": torch.ones(2)}), Sums({"a": torch.ones(2)})
    one.absorb(other)
    one.absorb(other)
    assert other["a"].tolist() == [1.0, 1.0]
