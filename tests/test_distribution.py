"""What is released: a wheel and an sdist that install into an empty folder and import from there."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import bayessgd
import gan
import metrics

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


def test_one_version():
    assert bayessgd.__version__ == gan.__version__ == metrics.__version__
    assert f"## {metrics.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {metrics.__version__}" in (ROOT / "CITATION.cff").read_text()


def test_the_wheel_has_the_packages_and_nothing_else(built):
    wheel, _ = built
    assert metrics.__version__ in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"bayessgd", "gan", "metrics"}
    for package in ("bayessgd", "gan", "metrics"):
        assert f"{package}/py.typed" in names


def test_the_sdist_has_tests_and_examples(built):
    _, sdist = built
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    tops = {name.split("/")[1] for name in names if "/" in name}
    assert {
        "bayessgd",
        "gan",
        "metrics",
        "tests",
        "examples",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    } <= tops
    assert not tops & {".venv", "out", "site", ".ci"}


@pytest.mark.parametrize("which", [0, 1], ids=["wheel", "sdist"])
def test_it_imports_from_an_empty_folder(built, which, tmp_path):
    target = tmp_path / "installed"
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(built[which])], check=True)
    program = "import bayessgd, gan, metrics; print(bayessgd.__file__, gan.__file__, metrics.__file__)"
    told = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(target)},
    )
    assert all(place.startswith(str(target)) for place in told.stdout.split())
