"""Every public function of tensors under hostile input: a right result, or a refusal in our words."""

import inspect

import pytest
import torch
from torch import Tensor

from tests.hostile.attacks import EXTREME, HARMLESS, POISON, agree, refused, tensors_of
from tests.hostile.cases import ELSEWHERE, cases, public_functions, tensor_parameters

CASES = {case.name: case for case in cases()}

MAY: dict[tuple[str, str], str] = {
    ("predictions.quantile_calibration_error", "one dimension more"): "values of any shape",
    ("theory.discrete_lyapunov", "one dimension more"): "several noises at once",
    ("data.shift_images", "NaN"): "moves pixels, and looks at none: it runs in every step of a training",
    ("data.shift_images", "infinite"): "the same",
    ("data.shift_images", "minus infinite"): "the same",
    ("data.shift_images", "half"): "the same",
    ("data.shift_images", "flipped twice"): "a flipped batch meets other shifts",
    (
        "predictions.calibration_floor",
        "all alike",
    ): "its simulated labels are those of another stream in 32 bits",
    ("predictions.calibration_floor", "duplicates"): "the same",
    ("predictions.calibration_floor", "one row"): "the same",
}
"""By function and attack or argument, what is right as it is, with the reason."""


UNDEFINED = {
    "predictions.reliability_diagram": "the mean of an empty bin",
    "metrics.effective_sample_size": "of draws that never move",
    "metrics.monte_carlo_error": "of draws that never move",
    "metrics.r_hat": "of draws that never move",
}
"""Where the docstring promises NaN."""


def made(case, seed=0, dtype=torch.float32):
    return case.make(torch.Generator().manual_seed(seed), dtype)


def kept(arguments):
    return {name: value.detach().clone() for name, value in arguments.items() if isinstance(value, Tensor)}


def unchanged(arguments, before):
    return all(
        torch.equal(before[name], value.detach()) for name, value in arguments.items() if name in before
    )


def in_float64(arguments):
    """The same arguments, exactly, in the wider type; generators from their start."""
    wide = {
        n: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for n, v in arguments.items()
    }
    return {
        n: torch.Generator().manual_seed(0) if isinstance(v, torch.Generator) else v for n, v in wide.items()
    }


def largest(result):
    sizes = [float(t.double().abs().nan_to_num(0.0).max()) for t in tensors_of(result) if t.numel()]
    return max(sizes, default=0.0)


def attacked(case, kinds):
    """Each tensor of the case under each kind of change."""
    for parameter, value in made(case).items():
        for kind in kinds if isinstance(value, Tensor) else ():
            if (case.name, kind) not in MAY and (case.name, parameter) not in MAY:
                yield parameter, kind


@pytest.mark.parametrize("name", CASES)
def test_a_refusal_free_call_is_finite_and_changes_nothing(name):
    case = CASES[name]
    arguments = made(case)
    before = kept(arguments)
    result = case.call(**arguments)
    assert unchanged(arguments, before)
    if name not in UNDEFINED:
        assert all(t.isfinite().all() for t in tensors_of(result) if t.is_floating_point())


@pytest.mark.parametrize("name", CASES)
def test_the_same_numbers_in_another_form_give_the_same_refused_never(name):
    case = CASES[name]
    plain = case.call(**made(case))
    wrong = []
    for parameter, kind in attacked(case, HARMLESS):
        arguments = made(case)
        value = arguments[parameter]
        assert isinstance(value, Tensor)
        arguments[parameter] = HARMLESS[kind](value, torch.Generator().manual_seed(1))
        result, words = refused(lambda arguments=arguments: case.call(**arguments))
        gap = f"refused: {words}" if words else agree(result, plain, rtol=1e-5, scale=1.0)
        wrong += [f"{parameter} {kind}: {gap}"] if gap else []
    assert not wrong


@pytest.mark.parametrize("name", CASES)
def test_what_is_no_argument_is_refused_by_name(name):
    case = CASES[name]
    wrong = []
    for parameter, kind in attacked(case, POISON):
        arguments = made(case)
        value = arguments[parameter]
        assert isinstance(value, Tensor)
        if not value.is_floating_point() and kind in ("NaN", "infinite", "minus infinite", "half"):
            continue
        arguments[parameter] = POISON[kind](value, torch.Generator().manual_seed(1))
        try:
            _, words = refused(lambda arguments=arguments: case.call(**arguments))
        except Exception as error:
            wrong.append(f"{parameter} {kind}: {type(error).__name__}: {str(error)[:90]}")
            continue
        if words is None:
            wrong.append(f"{parameter} {kind}: taken")
        elif parameter not in words:
            wrong.append(f"{parameter} {kind}: not named in {words[:90]!r}")
    assert not wrong


@pytest.mark.parametrize("name", CASES)
def test_what_is_hard_is_as_in_float64_or_refused(name):
    case = CASES[name]
    wrong = []
    for parameter, kind in attacked(case, EXTREME):
        arguments = made(case)
        value = arguments[parameter]
        assert isinstance(value, Tensor)
        if not value.is_floating_point():
            continue
        arguments[parameter] = EXTREME[kind](value, torch.Generator().manual_seed(1))
        exact = in_float64(arguments)
        before = kept(arguments)
        try:
            result, words = refused(lambda arguments=arguments: case.call(**arguments))
        except Exception as error:
            wrong.append(f"{parameter} {kind}: {type(error).__name__}: {str(error)[:90]}")
            continue
        assert unchanged(arguments, before)
        if words is not None:
            continue
        if name not in UNDEFINED and any(
            t.isnan().any() for t in tensors_of(result) if t.is_floating_point()
        ):
            wrong.append(f"{parameter} {kind}: NaN")
            continue
        expected, refusal = refused(lambda exact=exact: case.call(**exact))
        gap = None if refusal else agree(result, expected, rtol=2e-3, scale=max(largest(expected), 1e-6))
        wrong += [f"{parameter} {kind}: {gap}"] if gap else []
    assert not wrong


def test_every_public_function_is_here_or_elsewhere_with_a_reason():
    names = dict(public_functions())
    assert not set(ELSEWHERE) - set(names), "of functions that are gone"
    for name, function in names.items():
        if tensor_parameters(function) and name not in ELSEWHERE:
            arguments = made(CASES[name])
            inspect.signature(function).bind(**arguments)
