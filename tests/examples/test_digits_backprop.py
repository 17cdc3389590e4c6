"""The blackboard against autograd, the sums against brute force, Newton against a quadratic, and the command line."""

import doctest
import itertools
import json
import math
import re
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from tests.examples.running import run

MODULES = (
    "network",
    "parts",
    "wishes",
    "averages",
    "costs",
    "units",
    "stochastic",
    "labels",
    "path",
    "newton",
)
PARTS = ("wishes", "averages", "costs", "units", "stochastic", "labels", "path", "newton")
HIDDEN = ("sigmoid", "tanh", "relu", "stochastic")
OUTPUTS = ("sigmoid", "tanh", "relu", "softmax")
PAIRS = [(o, "squared") for o in OUTPUTS] + [(o, "cross-entropy") for o in ("sigmoid", "softmax")]
SMALL = ("--seeds", "2", "--steps", "20", "--images", "100", "--quiet")
# Sums of a few dozen terms of order one in float64 are off by 1e-15; the specification allows 1e-10.
CLOSE = {"rtol": 0, "atol": 1e-10}


@pytest.fixture(scope="module")
def bp():
    """The example's modules, which are a folder of scripts and no package."""
    found = {name: import_module(f"backprop_{name}") for name in MODULES}
    return SimpleNamespace(main=import_module("digits_backprop").main, **found)


@pytest.fixture
def images():
    """Five digits with one-hot labels, pixels in [0, 1]."""
    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels[:5]) / 16, torch.eye(10, dtype=torch.float64)[torch.tensor(labels[:5])]


def model(bp, hidden="sigmoid", output="sigmoid", cost="squared", sizes=(64, 16, 16, 10)):
    return bp.network.Model(sizes, bp.network.UNITS[hidden], bp.network.UNITS[output], bp.network.COSTS[cost])


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def setting(bp, net, **changes):
    x, y, held_x, held_labels = bp.parts.load(None, 100)
    chosen = {"model": net, "seeds": 2, "steps": 20, "seed": 0, "bars": False} | changes
    return bp.parts.Setting(x, y, held_x, held_labels, **chosen)


def test_the_lectures_network_has_13002_parameters(bp):
    assert model(bp, sizes=(784, 16, 16, 10)).size == 13_002
    assert model(bp).size == 1_482


@pytest.mark.parametrize(("output", "cost"), PAIRS)
@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("count", [1, 5])
def test_every_slope_by_hand_is_autograds(bp, images, hidden, output, cost, count):
    x, y = (part[:count] for part in images)
    net = model(bp, hidden, output, cost)
    # Biases that are not zero, as they are at a start.
    theta = 0.3 * torch.randn(net.size, generator=seeded(0), dtype=torch.float64)
    hand = bp.wishes.by_hand(net, theta, x, y, seeded(1))
    auto = bp.wishes.by_autograd(net, theta, x, y, seeded(1))
    assert set(hand) == set(auto) == {"a1", *(f"{kind}{l}" for kind in "azWb" for l in (2, 3, 4))}
    for name, slope in hand.items():
        torch.testing.assert_close(slope, auto[name], **CLOSE)
    assert max(float(slope.abs().max()) for slope in hand.values()) > 0.01


@pytest.mark.parametrize(("output", "cost"), PAIRS)
def test_the_gradient_is_laid_out_as_the_parameters(bp, images, output, cost):
    net = model(bp, "tanh", output, cost)
    theta = 0.3 * torch.randn(3, net.size, generator=seeded(0), dtype=torch.float64)
    value, gradient = net.gradient(theta, *images)
    for k in range(3):
        alone = theta[k].clone().requires_grad_()
        loss = net.loss(alone, *images)
        (auto,) = torch.autograd.grad(loss, alone)
        torch.testing.assert_close(value[k], loss.detach(), **CLOSE)
        torch.testing.assert_close(gradient[k], auto, **CLOSE)


def test_cross_entropy_of_a_saturated_output_stays_finite(bp, images):
    net = model(bp, output="sigmoid", cost="cross-entropy")
    theta = net.start(generator=seeded(0))
    theta[-10:] = 800.0
    value, gradient = net.gradient(theta, *images)
    # Nine outputs of ten are wrong by 800 nats each, about.
    assert float(value) == pytest.approx(7200, rel=0.01)
    torch.testing.assert_close(gradient[-10:], 1 - images[1].mean(0), **CLOSE)


@pytest.mark.parametrize("hidden", HIDDEN[:3])
def test_the_wishes_of_all_images_average_to_the_gradient(bp, hidden):
    given = setting(bp, model(bp, hidden))
    theta = given.model.start(generator=seeded(0))
    each = bp.averages.each_gradient(given, theta)
    assert each.shape == (100, 1482)
    torch.testing.assert_close(each.mean(0), given.model.gradient(theta, given.x, given.y)[1], **CLOSE)
    part = bp.averages.averages(given)
    assert part.numbers["worst_difference"] < 1e-10


def test_the_error_of_a_mean_without_replacement_is_that_of_all_subsets(bp):
    gradients = torch.randn(6, 3, generator=seeded(0), dtype=torch.float64)
    for n in range(1, 7):
        subsets = torch.tensor(list(itertools.combinations(range(6), n)))
        missed = gradients[subsets].mean(1) - gradients.mean(0)
        exact = missed.square().sum(1).mean().sqrt()
        torch.testing.assert_close(bp.averages.mean_error(gradients, torch.tensor(float(n))), exact, **CLOSE)


def test_slopes_of_an_output_are_the_closed_forms(bp):
    z = torch.linspace(-9, 9, 101, dtype=torch.float64, requires_grad=True)
    a = z.sigmoid()
    for cost, told in (((a - 1) ** 2, bp.costs.squared_slope), (-a.log(), bp.costs.entropy_slope)):
        (auto,) = torch.autograd.grad(cost.sum(), z, retain_graph=True)
        torch.testing.assert_close(told(z.detach()), -auto, **CLOSE)
    steepest = torch.tensor(-math.log(2), dtype=torch.float64)
    assert float(bp.costs.squared_slope(steepest)) == pytest.approx(8 / 27, abs=1e-15)
    assert float(bp.costs.squared_slope(z.detach()).max()) <= 8 / 27


def test_the_exact_slope_of_a_coin_is_that_of_the_mean_cost(bp):
    coin = small_coin(bp)
    shift = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    h = torch.tensor(list(itertools.product((0.0, 1.0), repeat=5)), dtype=torch.float64)
    p = (coin.z + shift).sigmoid()
    chance = torch.where(h[:, None] == 1, p, 1 - p).prod(-1)
    (auto,) = torch.autograd.grad((chance * coin.cost(h[:, None])).sum(0).mean(), shift)
    truth, laws = coin.exact()
    torch.testing.assert_close(truth, auto, **CLOSE)
    assert float(laws["straight-through"].bias.norm()) > 0.01
    for name in ("REINFORCE", "with a baseline"):
        assert float(laws[name].bias.norm()) < 1e-12


def test_estimates_of_a_coins_slope_follow_their_laws(bp):
    coin, draws, repeats = small_coin(bp), 40, 1000
    truth, laws = coin.exact()
    found = [bp.stochastic.estimate(coin, draws, seeded(seed)) for seed in range(repeats)]
    for name, law in laws.items():
        values = torch.stack([f[name] for f in found])
        stderr = values.std(0) / repeats**0.5
        # Five units, three estimators: the largest of 15 normal deviates exceeds 4.5 once in 10,000 seeds.
        assert float(((values.mean(0) - truth - law.bias) / stderr).abs().max()) < 4.5
        # A variance from 1000 draws is off by 4.5 %; the leave-one-out baseline adds 1/39 of its own.
        assert float(values.var(0).sum()) == pytest.approx(law.variance / draws, rel=0.15)


def test_straight_through_is_autograds_of_the_usual_trick(bp):
    coin = small_coin(bp)
    h = (torch.rand(6, 3, 5, generator=seeded(9)) < 0.5).double()
    z = coin.z.expand(6, 3, 5).clone().requires_grad_()
    p = z.sigmoid()
    (auto,) = torch.autograd.grad(coin.cost(p + (h - p).detach()).sum(), z)
    torch.testing.assert_close(coin.terms(h, torch.zeros(()))["straight-through"], auto, **CLOSE)


def small_coin(bp):
    z, W, b = (
        torch.randn(*s, generator=seeded(k), dtype=torch.float64)
        for k, s in enumerate([(3, 5), (4, 5), (4,)])
    )
    return bp.stochastic.Coin(z, 2 * W, b, torch.eye(4, dtype=torch.float64)[:3])


def test_a_newton_step_ends_at_the_minimum_of_a_quadratic(bp):
    M = torch.randn(7, 7, generator=seeded(0), dtype=torch.float64)
    A, centre = M @ M.mT + torch.eye(7), torch.arange(7.0, dtype=torch.float64)
    start = torch.ones(7, dtype=torch.float64)
    step = bp.newton.newton_step(A, A @ (start - centre))
    torch.testing.assert_close(start + step, centre, **CLOSE)


@pytest.mark.parametrize("hidden", ["sigmoid", "tanh"])
@pytest.mark.parametrize(("output", "cost"), PAIRS)
def test_the_hessian_of_the_gradient_by_hand_is_autograds(bp, images, hidden, output, cost):
    net = model(bp, hidden, output, cost, sizes=(64, 2, 2, 10))
    theta = 0.3 * torch.randn(net.size, generator=seeded(0), dtype=torch.float64)
    found = bp.newton.hessian(net, theta, *images)
    auto = torch.autograd.functional.hessian(lambda t: net.loss(t, *images), theta)
    torch.testing.assert_close(found, auto, **CLOSE)


def test_networks_whose_relus_are_all_off_are_measured_too(bp):
    """Seed 0 switches off all outputs of a network of width 1, whose Hessian is zero."""
    part = bp.newton.newton(setting(bp, model(bp, "relu", "relu")))
    assert part.numbers["newton_over_gradient"] > 0


def test_arrows_of_no_wish_have_no_length(bp):
    axis = Figure().subplots()
    bp.wishes._arrows(axis, torch.tensor([0.5, 1.0]), torch.zeros(2), "output")
    assert [arrow.xy for arrow in axis.texts] == [(0.5, 0), (1.0, 1)]


def test_the_median_of_two_seeds_is_between_them(bp, monkeypatch):
    learnt = torch.tensor([100.0, 300.0], dtype=torch.float64)
    monkeypatch.setattr(bp.costs._Run, "learnt", lambda _: learnt)
    rows = dict(bp.costs.costs(setting(bp, model(bp))).rows)
    assert rows["squared, usual start: steps to 10 % held-out error, median of seeds"] == "200"
    learnt[1] = math.inf
    rows = dict(bp.costs.costs(setting(bp, model(bp))).rows)
    assert rows["squared, usual start: steps to 10 % held-out error, median of seeds"] == "> 20"


def test_a_step_from_a_saddle_is_refused(bp):
    with pytest.raises(ValueError, match=r"damping > 2"):
        bp.newton.newton_step(torch.diag(torch.tensor([1.0, -2.0])), torch.ones(2))


def test_the_plane_holds_start_and_end_and_what_lies_in_it(bp):
    start, end, *others = torch.randn(12, 30, generator=seeded(0), dtype=torch.float64)
    plane = bp.path.Plane.through(start, end, torch.stack(others))
    torch.testing.assert_close(plane.axes @ plane.axes.mT, torch.eye(2, dtype=torch.float64), **CLOSE)
    where = plane.coordinates(torch.stack([start, end]))
    far = float((end - start).norm())
    torch.testing.assert_close(where, torch.tensor([[0.0, 0.0], [far, 0.0]], dtype=torch.float64), **CLOSE)
    inside = plane.points(torch.randn(5, 2, generator=seeded(1), dtype=torch.float64))
    assert plane.share(inside) == pytest.approx(1)
    assert 0 < plane.share(torch.stack(others)) < 0.9


def test_the_second_axis_is_the_principal_direction(bp):
    start = torch.zeros(6, dtype=torch.float64)
    walk = torch.randn(50, 6, generator=seeded(0), dtype=torch.float64) * torch.tensor([9.0, 1, 1, 5, 1, 1])
    plane = bp.path.Plane.through(start, torch.eye(6, dtype=torch.float64)[0], walk)
    assert abs(float(plane.axes[1, 3])) > 0.95


@pytest.mark.parametrize("hidden", HIDDEN[:3])
def test_networks_with_relu_outputs_are_trained(bp, hidden):
    """Under the steps of bounded outputs they had ended in overflow, and the picture in a crash."""
    given = setting(bp, model(bp, hidden, "relu"), steps=60)
    start = bp.path.path(replace(given, steps=20)).numbers["whole"]["all 100 images"]["loss"]
    end = bp.path.path(given).numbers["whole"]["all 100 images"]["loss"]
    assert end < start < 2
    assert 0 < bp.averages.averages(given).numbers["relative_error_of_10"] < math.inf


def test_sgd_with_all_images_is_the_full_gradients_walk(bp, images):
    """One image only, so that a batch of any size is all there is."""
    x, y = (part[:1] for part in images)
    net, theta = model(bp), model(bp).start(2, generator=seeded(0))
    bar = bp.parts.tqdm(disable=True)
    length = {"rate": 0.5, "steps": 3, "batch_size": 4}
    found = bp.parts.train(net, theta, x, y, generator=seeded(1), bar=bar, **length)
    for _ in range(3):
        theta = theta - 0.5 * net.gradient(theta, x, y)[1]
    torch.testing.assert_close(found, theta, **CLOSE)


def test_smoothed_labels_keep_their_sum(bp, images):
    soft = bp.labels.smoothed(images[1], 0.2)
    torch.testing.assert_close(soft.sum(1), torch.ones(5, dtype=torch.float64))
    assert float(soft.max()) == pytest.approx(0.82)
    assert float(soft.min()) == pytest.approx(0.02)


@pytest.mark.parametrize("epsilon", [-0.1, 1.5])
def test_smoothing_beyond_its_range_is_refused(bp, epsilon):
    with pytest.raises(ValueError, match="from 0 to 1"):
        bp.labels.smoothed(torch.eye(3), epsilon)


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (("softmax", "sigmoid", "squared"), "output unit"),
        (("sigmoid", "stochastic", "squared"), "must be hidden"),
        (("sigmoid", "tanh", "cross-entropy"), "probabilities"),
        (("sigmoid", "relu", "cross-entropy"), "probabilities"),
    ],
)
def test_networks_without_a_meaning_are_refused(bp, chosen, told):
    with pytest.raises(ValueError, match=told):
        model(bp, *chosen)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_the_docstrings(bp, name):
    module = getattr(bp, name)
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_one_part_as_a_user_runs_it(tmp_path):
    answer = run("digits_backprop", *SMALL, "--out", tmp_path, "--parts", "wishes")
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    assert "1,482 parameters" in answer.stdout
    assert (tmp_path / "wishes.png").is_file()
    assert not (tmp_path / "newton.png").exists()


def test_all_parts(bp, capsys, tmp_path):
    assert bp.main([*SMALL, "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert tuple(results["parts"]) == PARTS
    assert results["parts"]["wishes"]["parameters"] == 1482
    assert results["parts"]["wishes"]["worst_difference"] < 1e-10
    assert results["parts"]["averages"]["worst_difference"] < 1e-10
    report = (tmp_path / "report.md").read_text()
    for part in PARTS:
        assert (tmp_path / f"{part}.png").read_bytes()[:4] == b"\x89PNG"
        assert f"({part}.png)" in report
    pages = re.findall(rb"/Type /Page\b", (tmp_path / "lecture.pdf").read_bytes())
    assert len(pages) == len(PARTS)
    table = capsys.readouterr().out.split("\n\n")[0]
    assert table in report
    assert len({line.count("|") for line in table.splitlines()}) == 1, "a bar within a cell"


def test_parts_that_take_sigmoids_for_stochastic_units_say_so(bp):
    given = setting(bp, model(bp, "stochastic"))
    for part in (bp.averages.averages, bp.path.path, bp.newton.newton):
        assert "(sigmoid hidden, sigmoid output, squared cost)" in part(given).text


def test_the_same_seed_gives_the_same_numbers(bp, tmp_path):
    def numbers(seed):
        chosen = ["--parts", "costs", "--seed", str(seed), "--out", str(tmp_path)]
        assert bp.main([*SMALL, *chosen, "--hidden", "stochastic"]) == 0
        parts = json.loads((tmp_path / "results.json").read_text())["parts"]
        return {name: {k: v for k, v in part.items() if k != "seconds"} for name, part in parts.items()}

    first = numbers(3)
    assert numbers(3) == first
    assert numbers(4) != first


def test_the_original_on_mnist(bp, tmp_path):
    labels = torch.arange(120, dtype=torch.uint8) % 10
    pixels = torch.randint(256, (120, 28, 28), generator=seeded(0), dtype=torch.uint8)
    for name in ("train", "t10k"):
        head = b"".join(n.to_bytes(4, "big") for n in (2051, 120, 28, 28))
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(head + pixels.numpy().tobytes())
        head = b"".join(n.to_bytes(4, "big") for n in (2049, 120))
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(head + labels.numpy().tobytes())
    chosen = ["--data-dir", str(tmp_path), "--parts", "wishes", "averages", "--out", str(tmp_path / "out")]
    assert bp.main([*SMALL, *chosen, "--output", "softmax", "--cost", "cross-entropy"]) == 0
    parts = json.loads((tmp_path / "out" / "results.json").read_text())["parts"]
    assert parts["wishes"]["parameters"] == 13_002
    assert parts["averages"]["worst_difference"] < 1e-10


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--parts", "momentum"), "choose from"),
        (("--hidden", "softmax"), "choose from"),
        (("--output", "stochastic"), "choose from"),
        (("--output", "tanh", "--cost", "cross-entropy"), "take sigmoid or softmax"),
        (("--steps", "3"), "--steps must be at least 20"),
        (("--seeds", "1"), "--seeds must be at least 2"),
        (("--images", "7"), "--images must be at least 100"),
        (("--images", "5000"), "images must be at most 898"),
        (("--seed", "-1"), "--seed"),
        (("--out", __file__), "is a file"),
        (("--out", f"{__file__}/below"), "is a file"),
        (("--data-dir", "nowhere"), "train-images-idx3-ubyte"),
    ],
)
def test_mistakes_are_refused_in_one_line(bp, capsys, arguments, told):
    try:
        code = bp.main(list(arguments))
    except SystemExit as leaving:
        code = leaving.code
    answer = capsys.readouterr().err
    assert code == 2
    assert told in answer
    assert len(answer.splitlines()) == 1
