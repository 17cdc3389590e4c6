"""The pages that are made as the site is built: the home page from README, lectures, reference, results, notebooks.

A lecture is a module's docstring, a page a room. The reference has a page a room too, with every name of its `__all__`,
so that a new export is in by itself.
"""

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from docstrings import escaped  # noqa: E402

PACKAGES = ("metrics", "bayessgd", "gan")
SHORTEST = 4
"""Lines from which on a docstring is a lecture."""

LINKS = (
    (r"\]\((?:\.\./)*benchmarks/results/", "](results/"),
    (r"\]\((?:\.\./)*examples/(\w+)\.ipynb\)", r"](gallery/\1.md)"),
    (r"\]\((?:\.\./)*CONTRIBUTING\.md\)", "](contributing.md)"),
    (r"\]\((?:\.\./)*docs/", "]("),
    (r"\]\((?:\.\./)*CITATION\.cff\)", "](https://github.com/bayessgd/bayessgd/blob/main/CITATION.cff)"),
)


@dataclass(frozen=True)
class Room:
    """A package or a public module: its names, and the files whose docstrings are its lecture."""

    path: str
    names: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def title(self) -> str:
        """Its name without the package, but for the package itself."""
        return self.path


def rooms(package: str) -> Iterator[Room]:
    """A package's rooms, the ground first: names that stand in no room of their own."""
    root = importlib.import_module(package)
    inner = [_room(f"{package}.{name}") for name in sorted(_children(root)) if not name.startswith("_")]
    inner = [room for room in inner if room.names]
    taken = {name for room in inner for name in room.names} | {room.path.split(".")[-1] for room in inner}
    ground = tuple(name for name in root.__all__ if name not in taken)
    folder = ROOT / package
    files = [
        folder / "__init__.py",
        *(f for f in _sources(folder) if f"{package}.{f.stem}" not in _paths(inner)),
    ]
    yield Room(package, ground, tuple(files))
    yield from inner


def _paths(found: list[Room]) -> set[str]:
    return {room.path for room in found}


def _children(root: ModuleType) -> set[str]:
    """Sub-packages, and modules that the package exports by name."""
    folder = Path(root.__path__[0])
    packages = {child.name for child in folder.iterdir() if (child / "__init__.py").exists()}
    modules = {name for name in root.__all__ if isinstance(getattr(root, name), ModuleType)}
    return packages | modules


def _room(path: str) -> Room:
    module = importlib.import_module(path)
    place = ROOT / Path(*path.split("."))
    files = [place / "__init__.py", *_sources(place)] if place.is_dir() else [place.with_suffix(".py")]
    inner = [
        file for child in sorted(place.glob("*/__init__.py")) for file in (child, *_sources(child.parent))
    ]
    return Room(path, tuple(getattr(module, "__all__", ())), tuple(files + inner))


def _sources(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.py")) if not file.name.startswith("_")]


def lecture(room: Room) -> str | None:
    """The docstrings of a room's files, a section each; None where there is nothing to tell."""
    head, sections = "", []
    for file in room.files:
        text = ast.get_docstring(ast.parse(file.read_text())) or ""
        if file == room.files[0]:
            head = text
        elif len(text.splitlines()) >= SHORTEST:
            first, _, rest = text.partition("\n\n")
            sections.append(f"## {_heading(first)}\n\n{escaped(rest)}\n")
    if not sections and len(head.splitlines()) < SHORTEST:
        return None
    names = f"Its names: [`{room.path}`](../reference/{room.path}.md).\n"
    return f"# {room.title}\n\n{escaped(head)}\n\n{names}\n" + "\n".join(sections)


def _heading(sentence: str) -> str:
    return escaped(" ".join(sentence.split()).rstrip("."))


def reference(room: Room) -> str:
    """Every name of a room, by mkdocstrings."""
    names = [name for name in room.names if not _is_module(room.path, name)]
    index = "".join(
        f"| [`{name}`][{room.path}.{name}] | {_first_line(room.path, name)} |\n" for name in names
    )
    table = f"| name | what it is |\n|---|---|\n{index}"
    return f"# {room.path}\n\n{table}\n" + "\n".join(f"::: {room.path}.{name}\n" for name in names)


def _first_line(path: str, name: str) -> str:
    found = getattr(importlib.import_module(path), name)
    told = found.__doc__ if inspect.isclass(found) or inspect.isfunction(found) else None
    sentence = " ".join((told or "").strip().split("\n\n")[0].split())
    return escaped(sentence).replace("|", "\\|")


def _is_module(path: str, name: str) -> bool:
    return isinstance(getattr(importlib.import_module(path), name), ModuleType)


def notebook(path: Path, config: MkDocsConfig) -> list[File]:
    """A committed notebook as a page with its output."""
    from nbconvert import MarkdownExporter

    body, resources = MarkdownExporter().from_filename(str(path))
    pictures = resources["outputs"]
    for name in pictures:
        body = body.replace(f"]({name})", f"]({path.stem}_files/{name})")
    made = [_generated(config, f"gallery/{path.stem}.md", body)]
    return made + [
        File.generated(config, f"gallery/{path.stem}_files/{name}", content=data)
        for name, data in pictures.items()
    ]


def _generated(config: MkDocsConfig, uri: str, text: str) -> File:
    return File.generated(config, uri, content=text)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the parts of the navigation that are folders of generated pages."""
    own = {
        "lectures/": [
            {room.title: f"lectures/{room.path}.md"}
            for package in PACKAGES
            for room in rooms(package)
            if lecture(room)
        ],
        "reference/": [
            {room.path: f"reference/{room.path}.md"}
            for package in PACKAGES
            for room in rooms(package)
            if room.names
        ],
        "results/": [f"results/{file.name}" for file in sorted((ROOT / "benchmarks/results").glob("*.md"))],
        "gallery/": [
            "gallery/index.md",
            *(
                f"gallery/{file.parent.name}/report.md"
                for file in sorted(ROOT.glob("docs/gallery/*/report.md"))
            ),
            *(f"gallery/{file.stem}.md" for file in sorted(ROOT.glob("examples/*.ipynb"))),
        ],
    }
    config.nav = [
        {title: own.get(target, target) if isinstance(target, str) else target}
        for item in config.nav or []
        for title, target in item.items()
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made."""
    made = [
        _generated(config, "index.md", (ROOT / "README.md").read_text()),
        _generated(config, "contributing.md", (ROOT / "CONTRIBUTING.md").read_text()),
        _generated(config, "changelog.md", (ROOT / "CHANGELOG.md").read_text()),
    ]
    for package in PACKAGES:
        for room in rooms(package):
            told = lecture(room)
            made += [_generated(config, f"lectures/{room.path}.md", told)] if told else []
            made += [_generated(config, f"reference/{room.path}.md", reference(room))] if room.names else []
    for file in sorted((ROOT / "benchmarks/results").iterdir()):
        if file.suffix == ".md":
            made.append(_generated(config, f"results/{file.name}", file.read_text()))
        elif file.suffix == ".png":
            made.append(File.generated(config, f"results/{file.name}", content=file.read_bytes()))
    for file in sorted(ROOT.glob("examples/*.ipynb")):
        made += notebook(file, config)
    for file in made:
        files.append(file)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that hold in the repository, made to hold on the site."""
    deep = "../" * page.file.src_uri.count("/")
    for pattern, target in LINKS:
        target = target if "://" in target else target.replace("](", f"]({deep}")
        markdown = re.sub(pattern, target, markdown)
    return markdown
