import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from torch import nn

from metrics.geometry.boundary import decision_boundary
from metrics.geometry.draw import draw_regions
from metrics.geometry.plane import linear_regions_in_plane
from metrics.plots.colours import COLOURS
from tests.metrics.geometry.oracles import random_network


def regions_of(*widths):
    return linear_regions_in_plane(
        random_network(2, *widths, 2), torch.zeros(2), torch.eye(2), (-2, 2, -1, 1)
    )


def test_every_edge_is_drawn_once_in_the_colour_of_its_layer():
    regions = regions_of(6, 6)
    boundary = decision_boundary(regions)
    axes = draw_regions(regions, boundary=boundary)
    first, second, black = axes.collections
    for layer, drawn in ((1, first), (2, second)):
        assert len(drawn.get_segments()) == int((regions.layers == layer).sum())
        assert tuple(drawn.get_colors()[0]) == to_rgba(COLOURS[layer - 1])
    assert len(black.get_segments()) == len(boundary.segments)
    assert axes.get_xlim() == (-2, 2)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "layer 1",
        "layer 2",
        "decision boundary",
    ]
    axes.figure.canvas.draw()


def test_values_fill_the_cells_and_many_layers_have_a_scale():
    regions = regions_of(*[8] * 8)
    figure = Figure()
    axes = draw_regions(regions, values=regions.areas, label="area", ax=figure.subplots())
    assert axes.figure is figure
    assert len(axes.collections[0].get_paths()) == regions.count
    assert {tuple(c.get_colors()[0]) for c in axes.collections[1:]}.isdisjoint({to_rgba(c) for c in COLOURS})
    figure.canvas.draw()


def test_lines_get_thinner_with_the_density_unless_panels_share_a_width():
    few, many = regions_of(6), regions_of(60)
    widths = [draw_regions(r).collections[0].get_linewidth()[0] for r in (few, many)]
    assert widths == [1.2, pytest.approx(20 / many.count**0.5)]
    panels = [draw_regions(r, linewidth=0.7, legend=False) for r in (few, many)]
    assert all(panel.collections[0].get_linewidth()[0] == 0.7 for panel in panels)
    assert all(panel.get_legend() is None for panel in panels)


def test_one_region():
    axes = draw_regions(linear_regions_in_plane(nn.Identity(), torch.zeros(2), torch.eye(2), (-1, 1, -1, 1)))
    assert axes.get_legend().get_title().get_text() == "1 linear region"
    axes.figure.canvas.draw()


def test_refusals():
    regions = regions_of(4)
    with pytest.raises(ValueError, match=r"values must have one entry per cell, \[\d+\], got \[3\]"):
        draw_regions(regions, values=torch.zeros(3))
    with pytest.raises(ValueError, match="got list"):
        draw_regions(regions, values=[1.0])
