import pytest
import torch

from metrics.streaming import CRPS


@pytest.mark.parametrize(
    ("samples", "y", "error", "message"),
    [
        (torch.zeros(2), torch.zeros(2), ValueError, r"samples must have shape \[samples, n, ...\]"),
        (torch.zeros(3, 2).long(), torch.zeros(2), TypeError, "samples must be float32 or float64"),
        (torch.zeros(2, 3), torch.zeros(2), ValueError, "samples come first"),
        (torch.zeros(3, 2), torch.zeros(2).double(), TypeError, "samples and y must have the same dtype"),
        (torch.zeros(1, 2), torch.zeros(2), ValueError, "at least 2 samples for a fair score"),
    ],
)
def test_refuses_a_bad_batch_and_takes_none_of_it(samples, y, error, message):
    score = CRPS(fair=True)
    score.update(torch.zeros(2, 1), torch.zeros(1))
    with pytest.raises(error, match=message):
        score.update(samples, y)
    assert score.compute() == 0.0
