import pytest
import torch

from metrics import brier_score, crps_ensemble, ranked_probability_score


def test_it_is_the_crps_of_the_classes_numbers():
    counts = torch.tensor([[2, 3, 5], [7, 0, 3]])
    labels = torch.tensor([2, 1])
    draws = torch.stack([torch.repeat_interleave(torch.arange(3.0), row) for row in counts], 1)
    found = ranked_probability_score(counts / 10, labels, per_point=True)
    torch.testing.assert_close(found, crps_ensemble(draws, labels.float(), per_point=True))


def test_two_classes_have_half_of_brier():
    probs = torch.tensor([[0.2, 0.8], [0.6, 0.4]])
    labels = torch.tensor([0, 0])
    torch.testing.assert_close(ranked_probability_score(probs, labels), brier_score(probs, labels) / 2)


def test_labels_out_of_range_are_refused():
    with pytest.raises(ValueError, match="from 0 to 1"):
        ranked_probability_score(torch.tensor([[0.2, 0.8]]), torch.tensor([2]))
    ranked_probability_score(torch.tensor([[0.2, 0.8]]), torch.tensor([1]))  # counted from 0
