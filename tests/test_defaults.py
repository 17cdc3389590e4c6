"""Defaults are a contract: whoever leaves an argument out gets the same number from every release, or reads why not.

`tests/defaults.json` has them all. A changed default is a decision: `python -m tests.test_defaults` writes the file
anew, and the changelog says what changed.
"""

import importlib
import inspect
import json
import pkgutil
from pathlib import Path

FILE = Path(__file__).parent / "defaults.json"
PLAIN = (bool, int, float, str, tuple, type(None))


def defaults():
    """Of every exported function, and of every exported class's constructor and public methods."""
    found, seen = {}, set()
    for package in ("bayessgd", "gan", "metrics"):
        root = importlib.import_module(package)
        names = (info.name for info in pkgutil.walk_packages(root.__path__, f"{package}."))
        rooms = (name for name in names if not name.rpartition(".")[2].startswith("_"))
        for module in (root, *map(importlib.import_module, rooms)):
            for name in getattr(module, "__all__", ()):
                thing = getattr(module, name)
                if getattr(thing, "__module__", "").split(".")[0] != package or id(thing) in seen:
                    continue
                seen.add(id(thing))
                where = f"{module.__name__}.{name}"  # the shortest name that it is exported by
                found |= _of(where, thing)
                if inspect.isclass(thing):
                    for method, function in inspect.getmembers(thing, inspect.isfunction):
                        if not method.startswith("_") and function.__module__ == thing.__module__:
                            found |= _of(f"{where}.{method}", function)
    return dict(sorted(found.items()))


def _of(where, thing):
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return {}
    told = {p.name: repr(p.default) for p in parameters if isinstance(p.default, PLAIN)}
    return {where: told} if told else {}


def test_defaults_are_those_of_the_contract():
    known, now = json.loads(FILE.read_text()), defaults()
    changed = {
        where: (known.get(where), now.get(where))
        for where in {*known, *now}
        if known.get(where) != now.get(where)
    }
    assert not changed, "a default changed; `python -m tests.test_defaults` writes tests/defaults.json anew"


if __name__ == "__main__":
    FILE.write_text(json.dumps(defaults(), indent=1) + "\n")
