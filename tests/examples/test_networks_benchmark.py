import dataclasses
import math

import pytest
import torch
from networks_methods import Fit, ensembles, member, of_one, sampled
from networks_problems import diabetes, digits
from networks_scores import predictive, score
from networks_table import table

from bayessgd import Ensemble


@pytest.fixture(scope="module")
def small():
    p = dataclasses.replace(digits(), passes=4, wander=4, snapshots=6)
    return p, member(p, 0, rank=5)


@pytest.mark.filterwarnings("ignore:the mean is .* deviations from the minimum")  # after four passes
def test_every_method_has_scores_and_a_row(small):
    p, m = small
    fits = of_one(p, m, 0)
    several = [fits, fits]
    longer = sampled(p, [m], passes=4, temperature=1.0, draws=5, seed=0)
    found = {**fits, **ensembles(p, several), "SGHMC": longer}
    scores = {name: [score(p, fit, None)] for name, fit in found.items()}
    for name, (one,) in scores.items():
        assert 0 < one.nll < math.log(9), name
        assert 0.5 < one.accuracy <= 1, name
        assert set(one.auroc) == {"nines", "turned"}
        assert one.passes >= 4
        assert len(one.points) == len(p.test_y)
    # Two copies of one member are that member.
    assert scores["2 averages"][0].nll == pytest.approx(scores["iterate average"][0].nll, rel=1e-6)
    lines = table("digits", p, scores)
    assert len(lines) == 4 + len(found)
    assert all(line.count("|") == lines[2].count("|") for line in lines[2:])


def test_members_are_read_back(small, tmp_path):
    p, _ = small
    one, again = (member(p, 0, rank=5, folder=tmp_path) for _ in range(2))
    assert torch.equal(one.swag.deviations["0.weight"], again.swag.deviations["0.weight"])
    assert one.cost == again.cost


def test_total_variation_is_zero_to_itself_and_that_of_two_points(small):
    p, m = small
    fit = Fit(m.average, 1, 1.0, 1.0)
    truth = predictive(p, torch.log(torch.eye(9)[p.test_y] + 1e-30)[None])
    assert score(p, fit, None).tv != score(p, fit, truth).tv
    bank = Ensemble({name: t[None] for name, t in m.average.mean.items()})
    outputs = torch.stack([_run(p, bank)])
    own = predictive(p, outputs)
    assert score(p, fit, own).tv == pytest.approx(0, abs=1e-6)
    wrong = float((1 - own[torch.arange(len(own)), p.test_y]).mean())
    assert score(p, fit, truth).tv == pytest.approx(wrong, rel=1e-5)


def _run(p, bank):
    net = p.make()
    net.load_state_dict({name: t[0] for name, t in bank.draws.items()})
    with torch.no_grad():
        return net(p.test_x)


def test_a_regressions_predictive_distribution_is_over_a_grid():
    p = diabetes()
    outputs = torch.zeros(2, len(p.test_x), 2)  # mean 0, deviation 1
    found = predictive(p, outputs)
    assert found.shape == (len(p.test_x), 301)
    torch.testing.assert_close(found.sum(1), torch.ones(len(found)))
