"""What every measure of two clouds refuses, and refuses whole."""

import pytest
import torch

from metrics.kernels.kernel import NegativeDistance
from metrics.streaming import MMD, FrechetDistance, PrecisionRecallDensityCoverage

ZEROS = torch.zeros(3, 2)


@pytest.mark.parametrize(
    "make",
    [FrechetDistance, lambda: MMD(kernel=NegativeDistance()), lambda: PrecisionRecallDensityCoverage(k=1)],
    ids=["frechet", "mmd", "prdc"],
)
@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ({}, ValueError, "real or fake must be given, got neither"),
        ({"real": [[0.0, 1.0]]}, TypeError, "real must be a torch.Tensor, got list"),
        ({"fake": torch.zeros(3, 2, dtype=torch.float16)}, TypeError, "fake must be float32 or float64"),
        ({"real": torch.zeros(3)}, ValueError, r"real must have shape \[n, d\], got \[3\]"),
        ({"fake": torch.zeros(0, 2)}, ValueError, "fake must not be empty"),
        ({"real": ZEROS, "fake": torch.tensor([[0.0, float("nan")]])}, ValueError, "fake must be finite"),
        ({"real": ZEROS, "fake": torch.zeros(3, 4)}, ValueError, "real and fake must have the same number"),
        ({"fake": torch.zeros(3, 4)}, ValueError, r"same number of columns in all batches, got \[2, 4\]"),
        ({"real": ZEROS, "fake": ZEROS.double()}, TypeError, "must have the same dtype"),
    ],
)
def test_refuses_a_bad_batch_and_takes_none_of_it(make, batch, error, message):
    accumulator = make()
    accumulator.update(real=torch.arange(6.0).reshape(3, 2))
    before = accumulator.state_dict()
    with pytest.raises(error, match=message):
        accumulator.update(**batch)
    after = accumulator.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_merge_refuses_clouds_of_another_space():
    one, other = FrechetDistance(), FrechetDistance()
    one.update(real=ZEROS)
    other.update(fake=torch.zeros(3, 4))
    with pytest.raises(ValueError, match="same number of columns"):
        one.merge(other)
