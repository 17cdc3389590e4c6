"""An import loads what it needs: the heavy libraries come with the first function that uses them."""

import subprocess
import sys

import pytest

HEAVY = ("matplotlib", "sklearn", "scipy.stats", "pyro", "ot", "arviz", "lightning")


@pytest.mark.parametrize("package", ["metrics", "gan", "bayessgd"])
def test_no_heavy_library_comes_with_the_import(package):
    """In a process of its own; what `import torch` brings on this machine is not ours."""
    code = (
        f"import sys, torch; before = set(sys.modules); import {package}; "
        f"print([name for name in {HEAVY} if name in sys.modules and name not in before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
