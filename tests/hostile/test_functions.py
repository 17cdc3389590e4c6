"""Every public function and object of tensors under hostile input: a right result, or a refusal in our words."""

import inspect

import pytest

from tests.hostile.attacks import tensors_of
from tests.hostile.cases import CASES_BY_NAME, ELSEWHERE, public_functions, tensor_parameters
from tests.hostile.judges import JUDGES, UNDEFINED, arguments_of, kept, tensors, unchanged
from tests.hostile.objects import CHECKED, STEPS
from tests.hostile.right import MAY

FUNCTIONS = [*CASES_BY_NAME.values(), *CHECKED]
ALL = [*FUNCTIONS, *STEPS]


def wrong(case, kind_of_attack):
    """What is wrong under each attack on each argument."""
    judge, attacks = JUDGES[kind_of_attack]
    found = []
    for parameter in tensors(arguments_of(case)):
        for kind in attacks:
            if (case.name, kind) not in MAY:
                said = judge(case, parameter, kind)
                found += [f"{parameter} {kind}: {said}"] if said else []
    return found


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_a_valid_call_is_finite_and_changes_nothing(case):
    arguments = arguments_of(case)
    before = kept(arguments)
    result = case.call(**arguments)
    assert unchanged(arguments, before)
    if case.name not in UNDEFINED:
        assert all(t.isfinite().all() for t in tensors_of(result) if t.is_floating_point())


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_the_same_numbers_in_another_form_give_the_same_refused_never(case):
    assert not wrong(case, "harmless")


@pytest.mark.parametrize("case", FUNCTIONS, ids=lambda case: case.name)
def test_what_is_no_argument_is_refused_by_name(case):
    assert not wrong(case, "poison")


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_what_is_hard_is_as_in_float64_or_refused(case):
    assert not wrong(case, "extreme")


@pytest.mark.parametrize(
    "case", [case for case in FUNCTIONS if "generator" in arguments_of(case)], ids=lambda c: c.name
)
def test_a_seed_in_the_place_of_a_generator_is_refused(case):
    for seed in (0, "0"):
        with pytest.raises(TypeError, match=r"generator must be a torch.Generator or None, got (int|str)"):
            case.call(**(arguments_of(case) | {"generator": seed}))


def test_every_public_function_is_here_or_elsewhere_with_a_reason():
    names = dict(public_functions())
    assert not set(ELSEWHERE) - set(names), "of functions that are gone"
    for name, function in names.items():
        if tensor_parameters(function) and name not in ELSEWHERE:
            inspect.signature(function).bind(**arguments_of(CASES_BY_NAME[name]))
