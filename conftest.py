"""What every test and doctest shares: no shape checks where a refusal is what is tested, and headless figures."""

import functools
import os

import jaxtyping
import matplotlib as mpl
import pytest
import torch

mpl.use("Agg")
torch.set_num_threads(1)


STUDIES = ("examples", "docs", "faults", "hostile", "conformity", "sampling")
"""Folders and words of files whose tests train, sample or run whole programs."""


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="one case of each test, and none of the studies")


QUICK = pytest.StashKey[bool]()
"""Whether an item is the first case of a test function that is no study."""


def pytest_collection_modifyitems(config, items):
    """Find the first case of every test function, doctest, that is no study: with --quick these alone."""
    seen = set()
    for item in items:
        name = (item.path, getattr(item, "cls", None), getattr(item, "originalname", item.name))
        study = item.get_closest_marker("slow") or any(word in item.path.parts for word in STUDIES)
        item.stash[QUICK] = not study and name not in seen
        if not study:
            seen.add(name)
    if config.getoption("--quick"):
        config.hook.pytest_deselected(items=[item for item in items if not item.stash[QUICK]])
        items[:] = [item for item in items if item.stash[QUICK]]


@pytest.fixture(autouse=True)
def _shape_checks(request):
    """Shapes of arguments are checked in the quick cases: everywhere they would take half of the time.

    And never where a refusal is tested: it must come from our own checks, as it does for a user.
    """
    on = request.node.stash.get(QUICK, False) and "refus" not in request.node.name
    jaxtyping.config.update("jaxtyping_disable", not on)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def unchecked(_shape_checks):
    """A study of hundreds of runs would check the same shapes hundreds of times; what runs once does it too."""
    jaxtyping.config.update("jaxtyping_disable", True)


@pytest.fixture(autouse=True, scope="session")
def _functions_within_functions_are_plain():
    """The import hook decorates them too, each time that they are made: a millisecond and a half, checks on or off."""
    checked = jaxtyping.jaxtyped

    def jaxtyped(fn=None, *, typechecker=None):
        if fn is None:
            return functools.partial(jaxtyped, typechecker=typechecker)
        nested = "<locals>" in getattr(fn, "__qualname__", "")
        return fn if nested else checked(fn, typechecker=typechecker)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping, "jaxtyped", jaxtyped)
        yield


@pytest.fixture(autouse=True, scope="session")
def _own_cache_folder(tmp_path_factory):
    """Tests never read or write the user's cache."""
    os.environ["BAYESSGD_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture
def gen():
    return torch.Generator().manual_seed(0)
