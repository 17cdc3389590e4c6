"""Would the tests notice? Small changes to the source, and whether the tests of its room turn red.

    python benchmarks/mutants.py [--rooms theory kernels ...] [--count 30] [--seed 0] [--folder DIR] [--out FILE]

Of every room's source a random sample of the places where a number, a sign, an operation, a comparison, a transpose, a
root or a mean could be another (`mutations`): each is changed alone, in a copy of the repository, and the room's tests
run until the first that fails. What survives is listed with its line. The share is that of the sample, with Wilson's
interval. A child is forked from a process that has torch loaded already, so that a mutant costs its tests and no more.
Every verdict is kept in the folder: a run that was stopped goes on. Linux and macOS.
"""

import argparse
import ast
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from scipy.stats import binomtest
from timing import machine
from tqdm import tqdm

from metrics import files

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "theory": ("bayessgd/theory", "tests/bayessgd/theory"),
    "collectors": ("bayessgd/collectors", "tests/bayessgd/collectors"),
    "posteriors": (
        "bayessgd/posteriors",
        "tests/bayessgd/posteriors",
        "tests/bayessgd/test_predict_networks.py",
    ),
    "transport": ("metrics/transport", "tests/metrics/transport", "tests/metrics/test_batches.py"),
    "kernels": ("metrics/kernels", "tests/metrics/kernels", "tests/metrics/test_batches.py"),
    "predictions": ("metrics/predictions", "tests/metrics/predictions"),
    "penalties": ("gan/penalties", "tests/gan/test_penalties.py", "tests/gan/test_checks.py"),
}
"""Source, and the tests that have to notice; its own doctests do too."""

DEFAULTS = "tests/test_defaults.py"
"""What notices a changed default in any room."""

SWAPPED: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
RENAMED = {
    "sum": "mean",
    "mean": "sum",
    "amin": "amax",
    "amax": "amin",
    "min": "max",
    "max": "min",
    "exp": "expm1",
    "log": "log1p",
    "inv": "pinverse",
}
DROPPED = ("sqrt", "sqrt_", "neg", "abs", "clamp", "clamp_", "T", "mT", "square")
"""Methods and attributes that are left out: x.sqrt() becomes x."""

SLOWEST = 20
"""Times the sound tests' seconds, after which an endless mutant counts as killed; and a minute."""


@dataclass(frozen=True)
class Mutant:
    """One change: the file, its line, the words before and after."""

    path: str
    line: int
    before: str
    after: str
    source: str
    guard: bool = False
    """`strict=` of a zip and `frozen=` of a dataclass guard what is true already: left out of the sample."""

    @property
    def key(self) -> tuple[str, int, str, str]:
        """What tells it from others, in a file that has not changed."""
        return self.path, self.line, self.before, self.after


@dataclass(frozen=True)
class Verdict:
    """What the tests said of it."""

    path: str
    line: int
    before: str
    after: str
    killed: bool
    seconds: float


def mutations(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what a node could be instead.

    >>> [ast.unparse(m) for m in mutations(ast.parse("a - b", mode="eval").body)]
    ['a + b']
    >>> [ast.unparse(m) for m in mutations(ast.parse("x.sum().sqrt()", mode="eval").body)]
    ['x.sum()']
    """
    match node:
        case ast.BinOp(left, op, right) if type(op) in SWAPPED:
            yield ast.BinOp(left, SWAPPED[type(op)](), right)
        case ast.Compare(left, [op], right) if type(op) in SWAPPED:
            yield ast.Compare(left, [SWAPPED[type(op)]()], right)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(SWAPPED[type(op)](), values)
        case ast.UnaryOp(ast.USub() | ast.Not(), operand):
            yield operand
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(float(value)):
            yield ast.Constant(2 * value if value else 1.0)
        case ast.Call(ast.Attribute(inner, name), _, _) if name in DROPPED:
            yield inner
        case ast.Call(ast.Attribute(inner, name), positional, keywords) if name in RENAMED:
            yield ast.Call(ast.Attribute(inner, RENAMED[name]), positional, keywords)
        case ast.Attribute(inner, "T" | "mT"):
            yield inner
        case _:
            pass


def places(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Yield where a node stands: parent, field and index; none in annotations."""
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if name in ("annotation", "returns", "decorator_list", "type_params"):
                continue
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST):
                    yield parent, name, index


def silent(tree: ast.Module) -> set[int]:
    """The nodes that no test should hold: what is raised or warned, docstrings, `__all__`."""
    found: set[int] = set()
    for node in ast.walk(tree):
        words = isinstance(node, ast.Raise | ast.JoinedStr)
        words |= isinstance(node, ast.Call) and ast.unparse(node.func) in ("warnings.warn", "TypeVar")
        words |= isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        words |= isinstance(node, ast.AnnAssign) and node.value is None
        if words:
            found |= {id(inner) for inner in ast.walk(node)}
    return found


def mutants(path: Path) -> list[Mutant]:
    """Return every mutant of a file."""
    text = path.read_text()
    tree = ast.parse(text)
    untouched, found = silent(tree), []
    for parent, name, index in list(places(tree)):
        value = getattr(parent, name)
        child = value if index is None else value[index]
        if id(child) in untouched or id(parent) in untouched:
            continue
        for other in mutations(child):
            _put(parent, name, index, other)
            source = ast.unparse(ast.fix_missing_locations(tree))
            _put(parent, name, index, child)
            line = getattr(child, "lineno", 0)
            guard = isinstance(parent, ast.keyword) and parent.arg in ("strict", "frozen")
            words = ast.unparse(child), ast.unparse(other)
            found.append(Mutant(str(path.relative_to(ROOT)), line, *words, source, guard))
    return found


def _put(parent: ast.AST, name: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[index] = node


def sample(room: str, count: int, seed: int) -> list[Mutant]:
    """Return a random sample of a room's mutants, the same for a seed; a longer one begins with a shorter one."""
    where = ROOT / ROOMS[room][0]
    every = [
        m for path in ([where] if where.is_file() else sorted(where.rglob("*.py"))) for m in mutants(path)
    ]
    random.Random(seed).shuffle(every)
    return [mutant for mutant in every if not mutant.guard][:count]


def tested(copy: Path, room: str, patience: float) -> tuple[bool, float]:
    """Run the room's tests in the copy; return whether they passed, and the seconds."""
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        _child(copy, room)
    while time.perf_counter() - started < patience:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0, time.perf_counter() - started
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False, time.perf_counter() - started


def _child(copy: Path, room: str) -> None:
    """What a forked child does; it never returns."""
    import pytest

    os.setpgid(0, 0)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.chdir(copy)
    # The copy's packages, and not those that are installed or loaded.
    for name in [
        name for name in sys.modules if name.split(".")[0] in ("bayessgd", "gan", "metrics", "tests")
    ]:
        del sys.modules[name]
    sys.path.insert(0, str(copy))
    options = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of plugins that are loaded already
    plain = "--import-mode=importlib --doctest-modules"
    code = pytest.main([*options, "-o", f"addopts={plain}", *ROOMS[room][1:], ROOMS[room][0], DEFAULTS])
    os._exit(0 if code == 0 else 1)


def judge(room: str, count: int, seed: int, folder: Path) -> list[Verdict]:
    """Return a verdict for each of a room's sample; those in the folder are taken."""
    path = folder / f"{room}-{seed}.json"
    known = [Verdict(**v) for v in files.read_json(path)] if path.exists() else []
    said = {(v.path, v.line, v.before, v.after): v for v in known}
    wanted = sample(room, count, seed)
    todo = [mutant for mutant in wanted if mutant.key not in said]
    if not todo:
        return [said[mutant.key] for mutant in wanted]
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    keep = shutil.ignore_patterns(".git", ".venv", "out", "site", "results", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=keep)
    sound, seconds = tested(copy, room, 3600)
    if not sound:
        raise SystemExit(f"the tests of {room} fail without any change; mend them first")
    for mutant in tqdm(todo, desc=room, initial=count - len(todo), total=count):
        there = copy / mutant.path
        text = there.read_text()
        there.write_text(mutant.source)
        passed, taken = tested(copy, room, 60 + SLOWEST * seconds)
        there.write_text(text)
        said[mutant.key] = Verdict(*mutant.key, not passed, round(taken, 1))
        files.write_text(path, json.dumps([asdict(v) for v in said.values()], indent=1))
    return [said[mutant.key] for mutant in wanted]


def page(found: dict[str, list[Verdict]], reasons: dict[str, str]) -> str:
    """The table, and the survivors with a reason where one is known."""
    lines = ["| room | mutants | killed | share, 95 % interval |", "|---|---|---|---|"]
    for room, verdicts in [*found.items(), ("all", [v for each in found.values() for v in each])]:
        killed, n = sum(v.killed for v in verdicts), len(verdicts)
        low, high = binomtest(killed, n).proportion_ci(method="wilson")
        lines.append(f"| {room} | {n} | {killed} | {killed / n:.3f}, {low:.3f} to {high:.3f} |")
    lines += ["", "| survivor | change | why |", "|---|---|---|"]
    for verdicts in found.values():
        for v in verdicts:
            if not v.killed:
                name = f"{v.path}:{v.line}"
                change = f"`{v.before}` → `{v.after}`".replace("|", "\\|").replace("\n", " ")
                lines.append(
                    f"| {name} | {change} | {reasons.get(f'{v.path}: {v.before} → {v.after}', '')} |"
                )
    return "\n".join(lines)


def main() -> None:
    """Judge what is missing and print the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=list(ROOMS))
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("out/mutants"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.folder = args.folder.resolve()
    args.folder.mkdir(parents=True, exist_ok=True)
    _load()
    reasons_at = Path(__file__).parent / "results" / "mutants_reasons.json"
    reasons = files.read_json(reasons_at) if reasons_at.exists() else {}
    found = {room: judge(room, args.count, args.seed, args.folder) for room in args.rooms}
    text = f"{page(found, reasons)}\n\nSample of seed {args.seed}; {machine()}"
    print(text)
    if args.out:
        files.write_text(args.out, text + "\n")


def _load() -> None:
    """Load what every child needs, once."""
    for name in (
        "scipy.stats",
        "scipy.optimize",
        "sklearn",
        "ot",
        "hypothesis",
        "torch._dynamo",
        "matplotlib.pyplot",
    ):
        import_module(name)


if __name__ == "__main__":
    main()
