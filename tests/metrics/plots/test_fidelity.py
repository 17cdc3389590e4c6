import math

import pytest
from matplotlib import pyplot as plt
from scipy.stats import norm, t

from metrics.estimate import Estimate
from metrics.plots import COLOURS, MARKERS, draw_precision_recall

NAMES = ("precision", "recall", "density", "coverage")


def estimates(values, *, stderr=0.02, floor=True, dof=math.inf):
    return {
        name: Estimate(value, stderr, "higher", "k = 5", (10, 10), *((0.9, 0.01) if floor else ()), dof=dof)
        for name, value in zip(NAMES, values, strict=True)
    }


MODELS = {
    "good": estimates((0.8, 0.7, 1.1, 0.6)),
    "bad": estimates((0.4, 0.3, 0.2, 0.1), stderr=0.05, dof=5.0),
}


def points(axis):
    """Of every error bar: its label, its place and its half-widths."""
    found = []
    for bar in axis.containers:
        line, _, (across, up) = bar.lines
        (left, _), (right, _) = across.get_segments()[0]
        (_, low), (_, high) = up.get_segments()[0]
        widths = ((right - left) / 2, (high - low) / 2)
        found.append((bar.get_label(), line.get_xdata()[0], line.get_ydata()[0], *widths))
    return found


def test_both_planes_have_a_point_per_model_and_the_floor():
    left, right = draw_precision_recall(MODELS).axes
    wide, narrow, floor = t.ppf(0.975, 5) * 0.05, norm.ppf(0.975) * 0.02, norm.ppf(0.975) * 0.01
    for axis, want in (
        (left, [("good", 0.7, 0.8), ("bad", 0.3, 0.4), ("floor", 0.9, 0.9)]),
        (right, [("good", 0.6, 1.1), ("bad", 0.1, 0.2), ("floor", 0.9, 0.9)]),
    ):
        for got, point, error in zip(points(axis), want, (narrow, wide, floor), strict=True):
            assert got[0] == point[0]
            assert got[1:] == pytest.approx((*point[1:], error, error))
        assert axis.get_ylim()[1] > 1.1 + narrow if axis is right else axis.get_ylim()[1] == 1.05
    assert (left.get_xlabel(), left.get_ylabel()) == ("recall (diversity)", "precision (fidelity)")
    assert (right.get_xlabel(), right.get_ylabel()) == ("coverage (diversity)", "density (fidelity)")


def test_models_differ_in_colour_and_marker_and_are_told_in_one_legend():
    figure = draw_precision_recall(MODELS)
    lines = [bar.lines[0] for bar in figure.axes[0].containers]
    assert [line.get_color() for line in lines] == [*COLOURS[:2], COLOURS[-1]]
    assert [line.get_marker() for line in lines] == [*MARKERS[:2], "x"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["good", "bad", "floor"]
    figure.canvas.draw()


def test_without_a_floor_there_is_none_and_no_state_is_left():
    style, figures = dict(plt.rcParams), plt.get_fignums()
    figure = draw_precision_recall({"model": estimates((0.5,) * 4, floor=False)})
    assert [label for label, *_ in points(figure.axes[0])] == ["model"]
    assert dict(plt.rcParams) == style
    assert plt.get_fignums() == figures


def test_many_models_each_have_a_look_of_their_own():
    figure = draw_precision_recall({f"m{k}": MODELS["good"] for k in range(20)})
    looks = {(bar.lines[0].get_color(), bar.lines[0].get_marker()) for bar in figure.axes[0].containers}
    assert len(looks) == 21


def test_refusals():
    with pytest.raises(ValueError, match="columns must not be empty"):
        draw_precision_recall({})
    lacking = {name: e for name, e in MODELS["good"].items() if name != "density"}
    with pytest.raises(ValueError, match=r"half lacks \['density'\]"):
        draw_precision_recall({"good": MODELS["good"], "half": lacking})
