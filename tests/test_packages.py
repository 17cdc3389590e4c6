"""What holds for every package: curated exports, doctested modules, no line that reaches a global seed."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

PACKAGES = ("bayessgd", "gan", "metrics")
ROOT = Path(__file__).parents[1]
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def modules():
    for package in PACKAGES:
        root = importlib.import_module(package)
        yield package
        names = (info.name for info in pkgutil.walk_packages(root.__path__, f"{package}."))
        yield from (name for name in names if not name.rpartition(".")[2].startswith("_"))


@pytest.mark.parametrize("name", list(modules()))
def test_exports_are_sorted_and_exist(name):
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", None)
    assert exported is not None, f"{name} has no __all__"
    constants = [n for n in exported if n.isupper()]
    classes = [n for n in exported if n[0].isupper() and n not in constants]
    functions = [n for n in exported if n not in constants + classes]
    assert list(exported) == sorted(constants) + sorted(classes) + sorted(functions)
    assert all(hasattr(module, n) for n in exported)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sources_keep_the_habits(path):
    text = path.read_text()
    assert not re.search(r"torch\.manual_seed\(|np\.random\.seed\(|random\.seed\(", text), "a global seed"
    assert not re.search(r"import pickle|pickle\.\w+\(|torch\.load\((?!.*weights_only=True)", text), (
        "unpickling"
    )
    assert "from __future__ import annotations" not in text, "hides the shapes"
    assert path.name != "utils.py"


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_say_that_they_are_typed(package):
    assert (ROOT / package / "py.typed").is_file()


def test_torch_is_pinned_in_the_constraints_and_free_in_the_project():
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()
    assert '"torch>=2.9"' in (ROOT / "pyproject.toml").read_text()
