"""Tables: who is best, how numbers are written, and what is not compared."""

from dataclasses import replace

import pytest

from metrics.estimate import Estimate, with_error
from metrics.evaluation.report import Comparison, Report


def report(value, better="lower", features="none", name="w"):
    return Report(
        {name: Estimate(value, 0.1, better, "as told", (5, 6), floor=1.0, floor_stderr=0.05)}, features
    )


@pytest.mark.parametrize(
    ("better", "values", "best"),
    [
        ("lower", (1.0, 2.0), "a"),
        ("higher", (1.0, 2.0), "b"),
        (0.5, (0.9, 0.4), "b"),
        ("lower", (0.1, -0.1), "b"),
    ],
)
def test_the_best_of_a_row_is_marked_in_every_form(better, values, best):
    comparison = Comparison({name: report(v, better) for name, v in zip("ab", values, strict=True)})
    assert comparison.best("w") == best
    value = with_error(values["ab".index(best)], 0.1)
    assert f"**{value}**" in comparison.to_markdown()
    assert f"{value} *" in comparison.to_text()
    assert comparison.to_text().count(" *") == 1


def test_one_report_alone_is_best_of_nothing():
    alone = Comparison({"a": report(1.0)})
    assert "*" not in alone.to_text() + alone.to_markdown()


def test_a_text_table_is_aligned():
    head, rule, row = Comparison({"a": report(1.0), "bb": report(10.0)}).to_text().splitlines()
    for cell, title in (
        ("1.00 ± 0.10 *", "a"),
        ("10.00 ± 0.10", "bb"),
        ("1.000 ± 0.050", "floor"),
        ("lower", "better"),
    ):
        assert (
            row.index(f"  {cell}")
            == head.index(f"  {title}")
            == rule.index("  ---", head.index(f"  {title}"))
        )


def test_a_figure_has_a_panel_per_measure_and_a_point_per_model():
    figure = Comparison({"a": report(1.0), "b": report(2.0), "c": report(3.0)}).plot()
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert len(shown) == 1
    assert [label.get_text() for label in shown[0].get_yticklabels()] == ["a", "b", "c"]


def test_the_mean_over_trainings_has_the_error_between_them():
    merged = Report.mean([report(1.0), report(2.0), report(3.0)])
    assert merged["w"].value == 2.0
    assert merged["w"].stderr == pytest.approx(1 / 3**0.5)
    assert merged["w"].dof == 2
    assert Report.mean([report(1.0)])["w"].stderr == 0.1


def test_a_mean_over_trainings_keeps_no_test_of_one_of_them():
    tested = [Report({"w": replace(report(v)["w"], p_value=0.5)}) for v in (1.0, 2.0)]
    assert Report.mean(tested)["w"].p_value is None


def test_a_table_tells_interval_floor_and_test():
    tested = Report({"w": replace(report(1.0)["w"], p_value=0.005)})
    assert tested.to_markdown().splitlines()[-1] == (
        "| w | 1.00 ± 0.10 | 0.80 to 1.20 | 1.000 ± 0.050 | 0.005 | lower | 5, 6 |"
    )


@pytest.mark.parametrize(
    ("reports", "message"),
    [
        ({}, "must not be empty"),
        ({"a": report(1.0), "b": report(1.0, features="f")}, "same features"),
        ({"a": report(1.0), "b": report(1.0, name="v")}, "same measures"),
    ],
)
def test_refusals(reports, message):
    with pytest.raises(ValueError, match=message):
        Comparison(reports)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(1.23456, 0.0234, "1.235 ± 0.023"), (12.3, 4.0, "12.3 ± 4.0"), (5.0, 0.0, "5.000 ± 0.000")],
)
def test_an_error_sets_the_digits(value, error, text):
    assert with_error(value, error) == text
