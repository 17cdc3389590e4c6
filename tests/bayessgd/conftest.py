"""As in the tests of metrics: functions within functions are not checked, nor any along long chains."""

from tests.metrics.conftest import _functions_within_functions_are_plain, unchecked

__all__ = ["_functions_within_functions_are_plain", "unchecked"]
