"""What every test and doctest shares: no shape checks where a refusal is what is tested, and headless figures."""

import functools
import json
import os
from pathlib import Path

import jaxtyping
import matplotlib as mpl
import pytest
import torch

mpl.use("Agg")
torch.set_num_threads(1)


STUDIES = ("examples", "docs", "faults", "hostile", "conformity", "sampling")
"""Folders whose tests train, sample or run whole programs."""

TRAINERS = ("torchmetric.py", "test_torchmetric.py")
"""Files that import whole trainers, which takes longer than their tests."""


ROOT = Path(__file__).parent

LONG = ROOT / "tests" / "long_cases.json"
"""Seconds of processor that first cases took, where they were more than `ALLOWED`: `make durations` writes it."""

ALLOWED = 0.3


def pytest_addoption(parser):
    parser.addoption(
        "--quick", action="store_true", help="one short case of each test, and none of the studies"
    )
    parser.addoption(
        "--durations-file", help=f"write the processor's seconds of all cases over {ALLOWED} s to this JSON"
    )


QUICK = pytest.StashKey[bool]()
"""Whether an item is the first case of a test function that is no study, and short."""

LEFT_OUT = pytest.StashKey[int]()
"""How many first cases --quick leaves out, because they take long."""

STARTED = pytest.StashKey[float]()
"""When a case began, on the processor's clock."""


def pytest_collection_modifyitems(config, items):
    """Find the first case of every test function, doctest, that is no study and short: with --quick these alone."""
    seen, first = set(), []
    for item in items:
        name = (item.path, getattr(item, "cls", None), getattr(item, "originalname", item.name))
        study = item.get_closest_marker("slow") or any(word in item.path.parts for word in STUDIES)
        if not study and name not in seen:
            first.append(item)
            seen.add(name)
    long = {} if config.getoption("--durations-file") else json.loads(LONG.read_text())
    short = {item for item in first if item.nodeid not in long}
    for item in items:
        item.stash[QUICK] = item in short
    if config.getoption("--quick"):
        config.stash[LEFT_OUT] = len(first) - len(short)
        config.hook.pytest_deselected(items=[item for item in items if item not in short])
        items[:] = [item for item in first if item in short]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """A worker of xdist has counted what was left out; all have the same."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(LEFT_OUT, 0)


def pytest_terminal_summary(terminalreporter, config):
    if count := config.stash.get(LEFT_OUT, 0):
        terminalreporter.line(
            f"{count} cases of more than {ALLOWED} s were left out: see tests/long_cases.json"
        )


def pytest_ignore_collect(collection_path, config):
    """Open no helpers of tests, which hold no doctests, and with --quick no studies, which import whole trainers."""
    parts = collection_path.relative_to(ROOT).parts if collection_path.is_relative_to(ROOT) else ()
    helper = "tests" in parts[:1] and collection_path.suffix == ".py" and not parts[-1].startswith("test_")
    studies = config.getoption("--quick") and {*STUDIES, *TRAINERS} & {*parts}
    return True if (helper and parts[-1] != "__init__.py") or studies else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    item.stash[STARTED] = sum(os.times()[:4])
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A report carries the processor's seconds of its case, of its child processes too."""
    item.user_properties = [("seconds", sum(os.times()[:4]) - item.stash[STARTED])]
    return (yield)


class Durations:
    """Gathers the seconds of long cases, where the workers' reports arrive, and writes them at the end."""

    def __init__(self, path):
        self.path, self.seconds = path, {}

    def pytest_runtest_logreport(self, report):
        if report.when == "teardown":
            seconds = dict(report.user_properties).get("seconds", 0.0)
            if seconds > ALLOWED:
                self.seconds[report.nodeid] = round(seconds, 1)

    def pytest_sessionfinish(self):
        self.path.write_text(json.dumps(dict(sorted(self.seconds.items())), indent=0) + "\n")


def pytest_configure(config):
    if config.getoption("--durations-file") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Durations(Path(config.getoption("--durations-file"))))


@pytest.fixture(autouse=True)
def _shape_checks(request):
    """Shapes of arguments are checked in the quick cases: in the long ones too they would take half of the time.

    And never where a refusal is tested: it must come from our own checks, as it does for a user.
    """
    on = request.node.stash.get(QUICK, False) and "refus" not in request.node.name
    jaxtyping.config.update("jaxtyping_disable", not on)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _torch_starts_anew():
    """What a test draws from torch's own generator does not depend on the tests before it."""
    torch.manual_seed(0)


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
