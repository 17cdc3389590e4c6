"""Intervals: quantiles of the normal and of Student's law, and what JSON tells of them."""

import itertools
import math
from dataclasses import replace

import pytest
from scipy import stats

from metrics.estimate import Estimate


def estimate(**more):
    return Estimate(1.0, 0.5, "lower", "as told", (5, 6), **more)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("dof", [1.0, 40.0, math.inf])
def test_an_interval_has_the_quantiles_of_students_law(level, dof):
    law = stats.norm if dof == math.inf else stats.t(dof)
    want = law.interval(level)
    e = estimate(dof=dof, floor=3.0, floor_stderr=0.1, floor_dof=dof)
    assert e.interval(level) == pytest.approx([1 + 0.5 * t for t in want])
    assert e.floor_interval(level) == pytest.approx([3 + 0.1 * t for t in want])


def test_an_interval_without_floor_or_error():
    assert estimate().floor_interval() is None
    assert Estimate(2.0, 0.0, "higher", "modes", (5, 6)).interval() == (2.0, 2.0)


def test_the_interval_of_a_share_ends_at_0_and_1():
    most = Estimate(0.9, 0.1, "higher", "share", (5, 6), floor=0.05, floor_stderr=0.1, share=True)
    assert most.interval() == (pytest.approx(0.704, abs=1e-3), 1.0)
    assert most.floor_interval() == (0.0, pytest.approx(0.246, abs=1e-3))


def test_json_keeps_what_it_had_and_tells_the_rest_where_there_is_something():
    plain = estimate().to_dict()
    assert plain.keys() == {"value", "stderr", "better", "convention", "sizes", "interval"}
    assert plain["interval"] == list(estimate().interval())
    full = estimate(floor=0.5, floor_stderr=0.1, dof=40.0, p_value=0.005).to_dict()
    assert full.keys() - plain.keys() == {"floor", "floor_stderr", "dof", "p_value"}


@pytest.mark.parametrize("level", [0.0, 1.0, 95, math.nan])
def test_refuses_a_level_that_is_no_fraction(level):
    with pytest.raises(ValueError, match="level"):
        estimate().interval(level)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_the_interval_of_a_squared_distance_is_that_of_its_root(level):
    """Of D² with error 2Dσ: (D ± tσ)², and from 0 where tσ is above D."""
    for distance, sigma in ((2.0, 0.3), (2.0, 1.5)):
        e = estimate(root_variance=sigma**2, floor_root_variance=sigma**2)
        e = replace(e, value=distance**2, stderr=2 * distance * sigma)
        e = replace(e, floor=e.value, floor_stderr=e.stderr)
        ends = stats.norm.interval(level, distance, sigma)
        want = [max(ends[0], 0.0) ** 2, ends[1] ** 2]
        assert e.interval(level) == pytest.approx(want, abs=1e-12)
        assert e.floor_interval(level) == pytest.approx(want, abs=1e-12)


def test_wider_levels_hold_narrower_ones():
    """Also with a second-order part in the error, whose lower end is below 0."""
    e = replace(estimate(root_variance=0.3), value=0.2, stderr=0.6)
    ends = [e.interval(level) for level in (0.1, 0.5, 0.9, 0.99, 0.9999)]
    for inner, outer in itertools.pairwise(ends):
        assert outer[0] <= inner[0] < inner[1] < outer[1]
