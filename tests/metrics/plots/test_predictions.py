import math

import pytest
import torch

from metrics import evaluate_predictions
from metrics.plots import draw_differences, draw_pit
from tests.metrics.evaluation.predictions.problems import line, pair


@pytest.fixture(scope="module")
def compared():
    models, labels = pair(n=200)
    return evaluate_predictions(models, labels, outside={"far": {k: p[:, :50] for k, p in models.items()}})


def test_differences_stand_where_they_are(compared):
    figure = compared.plot()
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[0] == "nll"
    assert len(figure.axes) % 4 == 0
    point = figure.axes[0].containers[0][0].get_xdata()[0]
    assert point == pytest.approx(compared.differences["sure"]["nll"].value)
    with pytest.raises(ValueError, match="compare at least two"):
        draw_differences({}, baseline="a")


def test_reliability_shows_bins_and_the_calibrated_band(compared):
    figure = compared.reliability()
    assert [ax.get_title().splitlines()[0] for ax in figure.axes] == ["good", "sure"]
    assert "floor" in figure.axes[0].get_title()
    dots = figure.axes[1].collections[1].get_offsets()
    assert dots.shape[1] == 2
    assert float(dots[:, 1].max()) <= 1


def test_risk_and_entropy(compared):
    axis = compared.risk_coverage().axes[0]
    assert [text.get_label() for text in axis.lines] == ["good", "sure"]
    coverage, risk = axis.lines[0].get_data()
    assert coverage[-1] == pytest.approx(1.0)
    assert risk[-1] == pytest.approx(1 - compared.reports["good"]["accuracy"].value)
    panels = compared.entropy().axes
    assert [line.get_label() for line in panels[0].lines] == ["test", "far"]


def test_pit_and_bands():
    x, f, y = line()
    found = evaluate_predictions({"mix": torch.distributions.Normal(f, 0.3)}, y)
    heights = found.pit().axes[0].patches[0].get_data().values
    assert sum(heights) / 10 == pytest.approx(1.0)
    axis = found.bands(x, data=(x[:5], y[:5])).axes[0]
    grid, mean = axis.lines[0].get_data()
    assert (grid[1:] >= grid[:-1]).all()
    order = x.argsort()
    assert mean[0] == pytest.approx(float(f.mean(0)[order[0]]))
    with pytest.raises(ValueError, match="pick a column"):
        found.bands(torch.zeros(300, 2))
    assert found.plot().axes  # of one model: its values


def test_the_band_of_a_histogram_is_the_binomial_one():
    figure = draw_pit({"m": torch.rand(400, generator=torch.Generator().manual_seed(0))})
    low, high = figure.axes[0].patches[1].get_extents().get_points()[:, 1]
    transform = figure.axes[0].transData.inverted()
    bottom, top = (float(transform.transform((0, v))[1]) for v in (low, high))
    assert top - bottom == pytest.approx(2 * 1.96 * math.sqrt(9 / 400), rel=1e-6)
