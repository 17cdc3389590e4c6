"""Both values side by side: signed differences, in standard errors where chance enters; a failure is a row."""

import metrics_values
import pytest
import torch
from metrics_cases import Peer
from metrics_values import HEADER, chances, difference, rows
from metrics_values_rows import TABLES, Measured


def cells(line):
    return [cell.strip() for cell in line.strip("| ").split(" |")]


@pytest.mark.parametrize(
    ("theirs", "ours", "error", "told"),
    [
        (2.0, 2.0, 0.1, "0"),
        (-2.2, -2.0, 0.0, "-0.1"),
        (1.02, 1.0, 0.01, "+0.02, 2.0 s.e."),
        (-1e-9, 0.0, 0.0, "-1e-09 absolute"),
    ],
)
def test_a_difference_is_relative_and_signed(theirs, ours, error, told):
    assert difference(theirs, ours, error) == told


def test_every_number_has_a_line_and_a_failure_one_of_its_own():
    def broken(x):
        raise ImportError("no module | named so")

    measured = Measured(
        ("sum", "mean"),
        lambda x: (float(x.sum()), float(x.mean())),
        (Peer("torch", lambda x: (6.0, 3.0), "a reason"), Peer("nobody", broken)),
    )
    first, second, failed = rows(measured, (torch.tensor([1.0, 2.0, 3.0]),))
    assert len(cells(first)) == len(cells(HEADER[0])) == HEADER[1].count("---") == 9
    assert cells(first)[:5] == ["sum", f"torch {torch.__version__}", "6", "6", "0"]
    assert cells(first)[8] == "a reason"
    assert cells(second)[2:5] == ["3", "2", "+0.5"]
    assert cells(failed)[:3] == ["sum, mean", "nobody, not installed", "ImportError: no module ¦ named so"]


def test_ours_must_not_fail():
    def broken(x):
        raise ValueError("x")

    with pytest.raises(RuntimeError, match="ValueError: x"):
        rows(Measured(("sum",), broken, ()), (torch.zeros(1),))


def test_the_standard_error_is_that_of_two_independent_numbers():
    """Of seeds 1 … 10 themselves: √2 times their standard deviation √(55/6)."""
    measured = Measured(("seed",), lambda x, *, seed=0: (float(seed),), (), random=True)
    assert chances(measured, (torch.zeros(1),)) == [pytest.approx((2 * 55 / 6) ** 0.5)]
    assert metrics_values.SEEDS == 10


def test_every_measure_has_our_numbers_by_their_names():
    """On a few points; subsets need a thousand."""
    x = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    for measured in {id(m): m for table in TABLES for m in table.measured}.values():
        logits = "Inception" in measured.names[0]
        aggregated = "MMDAgg" in measured.names[0]
        inputs = (x[:50],) if logits else (x[:20], 2 * x[20:40]) if aggregated else (x, 2 * x)
        assert len(measured.ours(*inputs)) == len(measured.names)
