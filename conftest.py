"""What every test and doctest shares: no shape checks where a refusal is what is tested, and headless figures."""

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


def pytest_collection_modifyitems(config, items):
    """With --quick: the first case of every test function; doctests; nothing that trains or runs programs."""
    if not config.getoption("--quick"):
        return
    kept, dropped, seen = [], [], set()
    for item in items:
        name = (item.path, getattr(item, "cls", None), getattr(item, "originalname", item.name))
        study = item.get_closest_marker("slow") or any(word in item.path.parts for word in STUDIES)
        (dropped if study or name in seen else kept).append(item)
        seen.add(name)
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


@pytest.fixture(autouse=True)
def _no_shape_checks_in_refusal_tests(request):
    """A refusal must come from our own checks, as it does for a user, and not from jaxtyping's."""
    off = "refus" in request.node.name
    jaxtyping.config.update("jaxtyping_disable", off)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


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
