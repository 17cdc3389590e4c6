"""What every test and doctest shares: no shape checks where a refusal is what is tested, and headless figures."""

import os

import jaxtyping
import matplotlib as mpl
import pytest
import torch

mpl.use("Agg")
torch.set_num_threads(1)


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
