"""As in the tests of metrics, functions within functions are not checked; nor is any where a test follows long chains."""

import jaxtyping
import pytest

from tests.metrics.conftest import _functions_within_functions_are_plain

__all__ = ["_functions_within_functions_are_plain"]


@pytest.fixture
def unchecked(_shape_checks):
    """Long chains would check the same shapes at every step, at twice the time of the step; short ones do it too."""
    jaxtyping.config.update("jaxtyping_disable", True)
