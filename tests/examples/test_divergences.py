"""The lecture on divergences end to end, and its numbers against closed forms."""

import json
import math
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import metrics
from tests.examples.running import run

ROOT = Path(__file__).parents[2]
PICTURES = ("images", "supports", "between", "costs")


@pytest.fixture(scope="module")
def parts():
    """The example's parts, which are a folder of scripts and no package."""
    return SimpleNamespace(
        **vars(import_module("divergence_images")) | vars(import_module("divergence_parts"))
    )


@pytest.fixture(scope="module")
def script():
    return import_module("divergences")


def picture(*pixels, side=12):
    image = torch.zeros(side, side, dtype=torch.float64)
    for row, column, ink in pixels:
        image[row, column] = ink
    return image


def test_the_lecture_as_a_user_runs_it(tmp_path):
    size = ("--quick", "--quiet", "--digits", "6", "--sizes", "20", "30")
    answer = run("divergences", *size, "--out", tmp_path)
    assert answer.returncode == 0, answer.stderr
    results, report = (
        json.loads((tmp_path / "results.json").read_text()),
        (tmp_path / "report.md").read_text(),
    )
    for name in PICTURES:
        assert name in results
        assert f"({name}.png)" in report
    for name in ("page", *PICTURES):
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    moved = results["images"]["scores"]["moved by a pixel"]
    assert len(moved) == 6
    assert all(s["KL"] == "infinite" and s["W2"] == pytest.approx(1) for s in moved)
    assert len(results["costs"]["seconds"]["W₂, exact"]) == 2
    assert "| 6 of 6 |" in answer.stdout


def test_a_hole_has_the_divergences_of_its_mass(parts):
    """With the mass m gone q = p/(1 − m) elsewhere: KL(q‖p) = −ln(1 − m), KL(p‖q) = ∞."""
    image = picture((2, 2, 2.0), (2, 3, 5.0), (5, 5, 3.0))
    m = 0.5
    found = parts.compare(image, parts.hole(image))
    assert found["KL"] == math.inf
    assert found["KL back"] == pytest.approx(-math.log(1 - m), rel=1e-12)
    # JS = ½ m ln 2 + ½ (1 − m) ln(p/μ) + ½ ln(q/μ),  μ = ½(p + q) = p (2 − m)/(2(1 − m)) where there is ink.
    ratio = (2 - m) / (2 * (1 - m))
    js = 0.5 * m * math.log(2) - 0.5 * (1 - m) * math.log(ratio) - 0.5 * math.log(ratio * (1 - m))
    assert found["JS"] == pytest.approx(js, rel=1e-12)
    # Elsewhere .2 and .3 become .4 and .6: the hole's .5 goes .2 and .3 there, over the distances 1 and √13.
    assert found["W2"] == pytest.approx(math.sqrt(0.2 * 1 + 0.3 * 13), rel=1e-12)


def test_a_speck_moves_its_mass_to_the_corner(parts):
    image = picture((3, 4, 7.0))
    found = parts.compare(image, parts.speck(image))
    mass = 0.01 / 1.01
    assert found["W2"] == pytest.approx(5 * math.sqrt(mass), rel=1e-12)
    assert found["KL"] == pytest.approx(math.log(1.01), rel=1e-9)
    assert found["KL back"] == math.inf


@pytest.mark.parametrize("pixels", [1, 3])
def test_a_moved_image_is_as_far_as_it_was_moved(parts, pixels):
    image = picture((4, 2, 1.0), (5, 2, 9.0), (6, 2, 3.0))
    found = parts.compare(image, image.roll(pixels, 1))
    assert found["KL"] == found["KL back"] == math.inf
    assert found["JS"] == pytest.approx(math.log(2), rel=1e-12)
    assert found["W2"] == pytest.approx(pixels, rel=1e-12)
    # A translation is all of S_ε at any ε: OT_ε(x, x + h) = OT_ε(x, x) + ‖h‖².
    for name in ("root S", "root S, blurred"):
        assert found[name] == pytest.approx(pixels, rel=1e-6)


def test_digits_keep_their_ink(parts):
    train, *_ = metrics.load_digits_split()
    ink = parts.ink(train[:5])
    assert ink.shape == (5, 14, 14)
    assert torch.equal(ink, ink.round())
    assert ink.sum((1, 2)).tolist() == ((train[:5].double() + 1) * 8).sum(1).round().tolist()
    assert float(ink[:, :3].sum()) == 0


def test_a_floor_under_disjoint_images_is_all_that_kl_tells(parts):
    """KL(p‖q + δ) = ln(1 + nδ) − H(p) − ln δ for any q without ink where p has some."""
    floors = torch.tensor([1e-12, 1e-6], dtype=torch.float64)
    a = picture((1, 1, 1.0), (1, 2, 1.0))
    for other in (picture((1, 3, 5.0)), picture((9, 9, 2.0), (8, 8, 1.0))):
        found = parts.floored(a, other, floors)
        closed = torch.log1p(144 * floors) - math.log(2) - floors.log()
        torch.testing.assert_close(found, closed)


def test_squares_that_move_apart(parts):
    """JS = θ ln 2 while they meet and ln 2 then; W₂ = √S_ε = θ with slope 1; energy's slope tends to 2."""
    found = parts.moved_squares(3)
    theta = torch.tensor(found["distance"], dtype=torch.float64)
    assert theta.tolist() == [k / 4 for k in range(1, 13)]
    near = {"rtol": 1e-9, "atol": 1e-12}
    column = {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}
    torch.testing.assert_close(column["JS"], theta.clamp(max=1) * math.log(2), **near)
    assert column["KL"].tolist() == [math.inf] * 12
    apart = theta > 1
    assert column["JS slope"][apart].abs().max() < 1e-12
    torch.testing.assert_close(
        column["JS slope"][theta < 1], torch.full((3,), math.log(2), dtype=theta.dtype), **near
    )
    torch.testing.assert_close(column["W₂"], theta, **near)
    torch.testing.assert_close(column["W₂ slope"], torch.ones_like(theta), **near)
    for name, expected in (("√S_ε", theta), ("√S_ε slope", torch.ones_like(theta))):
        torch.testing.assert_close(column[name], expected, rtol=1e-5, atol=1e-5)
    assert bool((column["MMD² slope"][theta > 1].diff() < 0).all())
    assert column["MMD² slope"][-1] < 1e-3
    assert 1.9 < column["energy D² slope"][-1] < 2


@pytest.mark.parametrize(("p", "closed"), [(1, 3.0), (2, 9.0)])
def test_the_far_limit_is_what_the_divergence_tends_to(parts, p, closed):
    x, y = torch.zeros(2, 2, dtype=torch.float64), torch.tensor([[3.0, 0.0]] * 2, dtype=torch.float64)
    assert float(parts._far(x, y, p)) == pytest.approx(closed)
    gen = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 3, generator=gen).double(), torch.randn(20, 3, generator=gen).double() + 1
    scale = float(torch.cdist(x, y).pow(p).mean())
    far = metrics.sinkhorn_divergence(x, y, eps=1e5 * scale, p=p)
    assert float(parts._far(x, y, p)) == pytest.approx(float(far), rel=1e-4)


def test_limits_stand_beside_the_curves(parts):
    found = parts.between(parts.Setting(3, [20, 30], 2, 3, 0))
    ratios = {row[:2]: float(row[2].split(" ±")[0]) for row in found.rows}
    assert len(ratios) == 8
    # At these ends S_ε is within 1 % of its limits: the deviations are of order ε and 1/ε in units of the mean cost.
    assert all(value == pytest.approx(1, abs=0.01) for value in ratios.values())
    classes, halves = (found.numbers["curves"][f"p = 2, {name}"] for name in ("3 and 8", "3 and 3"))
    assert classes["near"][0] > halves["near"][0] > 0


def test_the_same_seed_gives_the_same_numbers(parts):
    def numbers(seed):
        return parts.images(parts.Setting(4, [20, 30], 2, 3, seed)).numbers

    assert numbers(3) == numbers(3)
    assert numbers(3) != numbers(4)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--digits", "2"), "--digits must be at least 3, got 2"),
        (("--digits", "1000"), "--digits must be at most 400"),
        (("--repeats", "1"), "--repeats must be at least 2"),
        (("--sizes", "50", "5000"), "--sizes must be at least two numbers from 10 to 890, got 50 5000"),
        (("--sizes", "50", "50"), "--sizes must be at least two numbers from 10 to 890, got 50 50"),
        (("--seed", "-1"), "--seed"),
        (("--out", __file__), "argument --out: results go to a folder, or one that can be made"),
    ],
)
def test_mistakes_are_refused_in_one_line(script, capsys, arguments, told):
    with pytest.raises(SystemExit) as leaving:
        script.main(list(arguments))
    answer = capsys.readouterr().err
    assert leaving.value.code == 2
    assert told in answer
    assert len(answer.splitlines()) == 1
