"""The matrix of losses and measures: its ranks, its answer, and a run that goes on."""

import json
import re
import sys

import losses
import pytest
import torch
from losses import main
from losses_page import answer, draw, ranks, table, tied
from losses_tuning import configurations

import gan


def seeds(mean, step):
    """Five values around a mean."""
    return [mean + step * k for k in (-2, -1, 0, 1, 2)]


FOUND = {
    "energy": {"energy": seeds(1.0, 0.2), "coverage": seeds(0.5, 0.02), "1-NN": seeds(0.44, 0.01)},
    "mmd": {"energy": seeds(1.25, 0.2), "coverage": seeds(0.9, 0.02), "1-NN": seeds(0.7, 0.01)},
    "js": {"energy": seeds(2.0, 0.2), "coverage": seeds(0.7, 0.02), "1-NN": seeds(0.55, 0.01)},
}


def test_ranks_know_which_way_is_better():
    assert ranks(FOUND, "energy") == {"energy": 1, "mmd": 2, "js": 3}
    assert ranks(FOUND, "coverage") == {"energy": 3, "mmd": 1, "js": 2}
    assert ranks(FOUND, "1-NN") == {"energy": 2, "mmd": 3, "js": 1}  # .06, .2 and .05 from ½


def test_bounds_below_nothing_are_level():
    rows = {name: {"W1 by a critic": [value]} for name, value in (("a", -0.3), ("b", -0.1), ("c", 0.2))}
    assert ranks(rows, "W1 by a critic") == {"a": 1, "b": 1, "c": 3}


def test_level_is_what_a_test_of_ranks_does_not_tell_apart():
    """Of 5 against 5 seeds: U = 8 of 25 has p = .21, no overlap p = 1/252; one wild seed makes nobody level."""
    assert tied(FOUND, "energy") == ["energy", "mmd"]
    assert tied(FOUND, "coverage") == ["mmd"]
    wild = {**FOUND["js"], "energy": [2.0, 2.1, 2.2, 2.3, 900.0]}
    assert tied({**FOUND, "js": wild}, "energy") == ["energy", "mmd"]


def test_the_answer_counts_losses_that_win_under_their_own():
    told = answer(FOUND)
    assert "- energy: energy (not clearly better than mmd)" in told
    assert "Of 1 losses that descend a measure here 1 are the best under it, and 1 are best" in told
    assert "- energy under energy: rank 1 of 3" in told
    assert draw(FOUND, "ring").axes


def test_one_seed_claims_no_errors():
    single = {name: {m: values[2:3] for m, values in row.items()} for name, row in FOUND.items()}
    assert answer(single).startswith("One seed has no errors")
    assert tied(single, "energy") == ["energy", "mmd", "js"]
    assert "±" not in table(single, {"energy": 0.1})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Call the benchmark for some losses of the ring, its critics of two steps, its files in a folder of its own."""
    monkeypatch.setattr("losses.FRESH_STEPS", 2)

    def called(*losses, seeds, steps, tries):
        options = f"--data ring --losses {' '.join(losses)} --seeds {seeds} --steps {steps} --tries {tries}"
        words = ["losses", *options.split(), "--folder", str(tmp_path), "--out", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", words)
        main()

    return called


def test_a_table_that_was_stopped_goes_on(tmp_path, run):
    asked = {"seeds": 2, "steps": 2, "tries": 1}
    run("js", "hinge", **asked)
    first = (tmp_path / "losses.md").read_text()
    kept = sorted(tmp_path.glob("*.json"))
    assert [path.name for path in kept] == [f"ring-{n}-{s}-2.json" for n in ("hinge", "js") for s in (0, 1)]
    changed = json.loads(kept[2].read_text()) | {"W1": -1.0}
    kept[2].write_text(json.dumps(changed))  # what is there is taken
    kept[1].unlink()
    run("js", "hinge", **asked)
    second = (tmp_path / "losses.md").read_text()
    assert second != first
    assert kept[1].exists()
    assert (tmp_path / "losses_ring.png").exists()
    # What was made again is what it was; only who is best has changed.
    rows = [
        next(line for line in page.splitlines() if line.startswith("| hinge")) for page in (first, second)
    ]
    assert rows[0].replace("**", "") == rows[1].replace("**", "")


def test_what_was_trained_is_measured_anew_without_training(tmp_path, run, monkeypatch):
    asked = {"seeds": 2, "steps": 2, "tries": 1}
    run("js", **asked)
    first = (tmp_path / "losses.md").read_text()
    for path in tmp_path.glob("*.json"):
        path.unlink()

    def never(*_):
        raise AssertionError

    monkeypatch.setattr(losses, "trained", never)
    run("js", **asked)
    assert (tmp_path / "losses.md").read_text() == first
    measured = losses.judged
    monkeypatch.setattr(losses, "judged", lambda x, data: measured(x, data) | {"mean": float(x.mean())})
    for path in tmp_path.glob("*.json"):
        path.unlink()
    run("js", **asked)  # and by a measure that is new
    assert "| mean |" in (tmp_path / "losses.md").read_text()


def test_every_loss_has_the_same_budget_of_tuning(tmp_path, run):
    (tmp_path / "ring-js-try2-1.json").write_text("0.0")  # what is there is taken, and wins
    run("js", "energy", seeds=1, steps=4, tries=3)
    names = sorted(path.name for path in tmp_path.glob("*.json"))
    tries = [f"ring-{name}-try{k}-1.json" for name in ("energy", "js") for k in range(3)]
    assert names == sorted([*tries, "ring-energy-0-4-best3.json", "ring-js-0-4-best3.json"])
    page = (tmp_path / "losses.md").read_text()
    assert re.search(r"\| js \| \S+ \| \S+ \| \*\*0\.000\*\* \|", page)
    assert "the best of 3 configurations" in page


def test_configurations_change_what_a_loss_has_and_nothing_else():
    ring = gan.data.ring(100)
    js, energy = (configurations(gan.recipe(name, like=ring), 4) for name in ("js", "energy"))
    for one, other in zip(js[1:], energy[1:], strict=True):  # the same draws
        rates = [
            c.settings.learning_rate / first.settings.learning_rate
            for c, first in ((one, js[0]), (other, energy[0]))
        ]
        assert rates[0] == rates[1]
        assert one.settings.final_learning_rate / js[0].settings.final_learning_rate == pytest.approx(
            rates[0]
        )
        factors = {
            penalty.gamma / first.gamma for penalty, first in zip(one.penalties, js[0].penalties, strict=True)
        }
        assert len(factors) == 1
        assert other.penalties == ()
        assert other.settings.generator_rate == energy[0].settings.generator_rate
    assert len({c.settings.learning_rate for c in js}) == 4


def test_mnist_is_compared_in_a_random_order(monkeypatch):
    """Its first five thousand test images are the easier ones."""
    train, held_out = torch.arange(4000.0)[:, None], torch.arange(3000.0)[:, None]
    monkeypatch.setattr(losses.datasets, "mnist", lambda folder: gan.Data("mnist", train, held_out))
    data = losses.shuffled_mnist(None)
    first = data.held_out[: losses.POINTS].mean()
    # The mean of 1000 of 3000 in turn is 1499.5 with a standard error of 866 √(2/3) / √1000.
    assert abs(float(first) - 1499.5) < 4 * 22.4
    assert torch.equal(data.train.sort(0).values, train)
    assert torch.equal(data.held_out.sort(0).values, held_out)
