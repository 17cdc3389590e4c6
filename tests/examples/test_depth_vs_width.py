"""The example end to end, its folds against closed forms, and its networks' sizes."""

import json
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch

from metrics.geometry import MeanField
from tests.examples.running import run

SMALL = (
    *("--draws", "2", "--steps", "2", "--layers", "3", "--pixels", "32", "--quiet"),
    *("--depths", "2", "3", "--widths", "20", "40"),
)
PICTURES = ("folding", "regions", "neurons", "curvature", "boundary")


@pytest.fixture(scope="module")
def depth():
    """The example's modules, which are a folder of scripts and no package."""
    return SimpleNamespace(
        script=import_module("depth_vs_width"),
        parts=import_module("depth_parts"),
        folding=import_module("depth_folding"),
        measures=import_module("depth_measures"),
    )


def test_the_lecture_as_a_user_runs_it(tmp_path):
    answer = run("depth_vs_width", *SMALL, "--out", tmp_path)
    assert answer.returncode == 0, answer.stderr
    results, report = (
        json.loads((tmp_path / "results.json").read_text()),
        (tmp_path / "report.md").read_text(),
    )
    for name in PICTURES:
        assert name in results
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert f"({name}.png)" in report
    assert (tmp_path / "page.png").read_bytes()[:4] == b"\x89PNG"
    assert "(page.png)" in report
    assert "not with its width" in answer.stdout
    assert set(results["regions"]) == set(results["neurons"]) == {"2", "3"}
    assert set(results["curvature"]["widths"]) == {"20", "40"}
    assert results["folding"]["successive"] == [2**n for n in range(1, 15)]
    assert results["folding"]["parallel"] == [n * (n + 1) // 2 + 1 for n in range(1, 15)]


def test_folding_networks_have_the_regions_of_the_formulas(depth):
    assert [depth.folding.parallel_regions(n).count for n in (1, 2, 3, 10)] == [2, 4, 7, 56]
    assert [depth.folding.successive_regions(n) for n in (1, 2, 5, 12)] == [2, 4, 32, 4096]
    assert [depth.folding.plane_folds(n).count for n in (1, 2, 4)] == [4, 16, 256]


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_the_dragon_is_a_strip_of_equal_segments_at_right_angles(depth, n):
    points = depth.folding.dragon_curve(n)
    steps = points.diff(dim=0)
    assert steps.shape == (2**n, 2)
    assert torch.equal(steps.norm(dim=1), torch.ones(2**n, dtype=torch.float64))
    assert torch.equal((steps[1:] * steps[:-1]).sum(1), torch.zeros(2**n - 1, dtype=torch.float64))
    end = (1 + 1j) ** n  # every fold turns the end by 45° and lengthens it by √2
    assert points[-1].tolist() == [end.real, end.imag]
    # No segment is walked twice.
    assert len({tuple(m) for m in (points[1:] + points[:-1]).tolist()}) == 2**n


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 5, 6])
def test_networks_are_equal_in_parameters_to_5_percent_or_in_neurons(depth, gen, layers):
    width = depth.parts.EQUAL_PARAMETERS.width(layers)
    net = depth.measures.network(layers, width, gen)
    assert abs(depth.measures.parameters(net) / depth.measures.PARAMETERS - 1) < 0.05
    assert sum(isinstance(m, torch.nn.ReLU) for m in net) == layers
    assert layers * depth.parts.EQUAL_NEURONS.width(layers) == depth.measures.NEURONS


def test_training_raises_the_share_of_points_on_the_right_side(depth, gen):
    net = depth.measures.network(2, 30, gen)
    assert depth.measures.train(net, 1, gen) < depth.measures.train(net, 200, gen)


def test_growth_with_depth_and_with_width_of_curvatures_that_are_powers(depth):
    # Every draw grows by 1.5 a layer; four times the width give half as much again.
    layers = 1.5 ** torch.arange(6, dtype=torch.float64)
    drawn = {50: torch.stack([layers, 3 * layers]), 200: 1.5 * torch.stack([layers, 3 * layers])}
    assert depth.parts._growth(drawn, 2, 5) == pytest.approx((1.5, 0))
    factor, stderr = depth.parts._per_doubling(drawn, 5)
    assert factor == pytest.approx(1.5**0.5)
    # Relative errors 1/2 of both means (1 ± s.e. 1 about 2), halved by the root.
    assert stderr == pytest.approx(factor * 0.5 * (0.5**2 + 0.5**2) ** 0.5)


def test_the_theory_in_the_results_is_mean_fields_in_float64(depth):
    args = depth.script.arguments(list(SMALL))
    told = depth.parts.curvature(depth.script.setting(args)).numbers["theory"]
    exact = [layer.gauss_length / (2 * torch.pi) for layer in MeanField(torch.tanh, 4.0, 0.3).circle(3)]
    assert told == pytest.approx(exact, rel=1e-14)


def test_a_straight_boundary_has_the_apparent_dimension_1(depth):
    assert depth.measures.boundary_scales(torch.eye(64, dtype=torch.bool)).dimension == pytest.approx(1)


def test_a_circle_has_the_curvature_of_a_circle_in_its_first_layer(depth, gen):
    field = MeanField(torch.tanh, 4.0, 0.3)
    assert float(depth.measures.curvature_ratios(field, 20, 2, gen)[0]) == pytest.approx(1, abs=1e-9)
    radius = depth.measures.carried_circle(field, 20, 1, gen)[0][:-1].norm(dim=1)
    # The mean that is taken off counts the circle's first point twice.
    assert float(radius.std() / radius.mean()) < 1e-3


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_seed_gives_the_same_numbers(depth, name):
    def part(seed):
        args = depth.script.arguments([*SMALL, "--seed", str(seed)])
        found = depth.script.PARTS[name](depth.script.setting(args))
        return found.numbers, found.rows

    first = part(3)
    assert part(3) == first
    # Folds are built and not drawn.
    assert (part(4) == first) == (name == "folding")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--draws", "1"), "--draws must be at least 2"),
        (("--pixels", "8"), "--pixels must be at least 32"),
        (("--layers", "2"), "--layers must be at least 3"),
        (("--depths", "2", "7"), "--depths must be two to 8 different numbers from 1 to 6, got 2 7"),
        (("--widths", "100", "100"), "--widths must be two to 8 different numbers from 2 to 10000, got 100"),
        (("--widths", *map(str, range(2, 11))), "--widths must be two to 8 different numbers"),
        (("--layers", "250"), "--layers must be at most 100, got 250"),
        (("--seed", "-1"), "--seed"),
        (("--out", __file__), "is a file"),
        (("--out", f"{__file__}/below"), "is a file"),
        (("--steps", "many"), "many"),
    ],
)
def test_mistakes_are_refused_in_one_line(depth, capsys, arguments, told):
    with pytest.raises(SystemExit) as leaving:
        depth.script.main(list(arguments))
    answer = capsys.readouterr().err
    assert leaving.value.code == 2
    assert told in answer
    assert len(answer.splitlines()) == 1
