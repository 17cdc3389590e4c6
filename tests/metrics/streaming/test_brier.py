import pytest
import torch

from metrics.streaming import BrierScore

HALF = torch.full((2, 2), 0.5)


@pytest.mark.parametrize(
    ("probs", "labels", "error", "message"),
    [
        (HALF.half(), torch.tensor([0, 1]), TypeError, "probs must be float32 or float64"),
        (2 * HALF, torch.tensor([0, 1]), ValueError, "probs must sum to 1"),
        (HALF, torch.tensor([0.0, 1.0]), TypeError, "labels must be int64"),
        (HALF, torch.tensor([0]), ValueError, "one entry per prediction"),
        (HALF, torch.tensor([0, 2]), ValueError, "labels must be from 0 to 1"),
    ],
)
def test_refuses_a_bad_batch_and_takes_none_of_it(probs, labels, error, message):
    score = BrierScore()
    score.update(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    with pytest.raises(error, match=message):
        score.update(probs, labels)
    assert score.compute() == 0.0
