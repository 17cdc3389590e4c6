"""Functions within functions are not checked for shapes: made anew at each call, they would be compiled each time."""

import functools

import jaxtyping
import pytest


@pytest.fixture(autouse=True, scope="module")
def _functions_within_functions_are_plain():
    """The import hook decorates them too, whether checks are on or not: at a millisecond and a half for each."""
    checked = jaxtyping.jaxtyped

    def at_import(fn=None, *, typechecker=None):
        if fn is None:
            return functools.partial(at_import, typechecker=typechecker)
        nested = "<locals>" in getattr(fn, "__qualname__", "")
        return fn if nested else checked(fn, typechecker=typechecker)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping, "jaxtyped", at_import)
        yield


@pytest.fixture
def unchecked(_shape_checks):
    """A study of hundreds of runs would check the same shapes hundreds of times; what runs once does it too."""
    jaxtyping.config.update("jaxtyping_disable", True)
