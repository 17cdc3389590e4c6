"""Make the gallery: run the examples and keep their reports and pictures, made small, under docs/gallery.

    python docs/hooks/gallery.py [EXAMPLE ...] [--kept DIR]

With --kept the outputs of earlier runs, DIR/EXAMPLE, are taken in place of new ones.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
GALLERY = ROOT / "docs" / "gallery"
WIDEST = 1400
"""Of a picture, in pixels."""

EXAMPLES = {
    "gan_metrics": ["--overwrite"],
    "divergences": [],
    "bayesian_gan": [],
    "constant_sgd": [],
    "digits_backprop": [],
    "depth_vs_width": [],
}
"""With their arguments."""


def small(source: Path, target: Path) -> None:
    """A picture of at most `WIDEST` pixels in 256 colours."""
    picture = Image.open(source).convert("RGB")
    if picture.width > WIDEST:
        picture = picture.resize(
            (WIDEST, round(picture.height * WIDEST / picture.width)), Image.Resampling.LANCZOS
        )
    picture.quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)


def keep(name: str, made: Path) -> None:
    """Report and the pictures that it shows."""
    folder = GALLERY / name
    folder.mkdir(parents=True, exist_ok=True)
    report = (
        (made / "report.md").read_text().replace("![page](page.png)\n\n", "")
    )  # it is the others, on one page
    for picture in sorted(made.glob("*.png")):
        if f"({picture.name})" in report:
            small(picture, folder / picture.name)
    (folder / "report.md").write_text(report)


def main() -> None:
    """Run and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("examples", nargs="*", default=list(EXAMPLES), metavar="EXAMPLE")
    parser.add_argument("--kept", type=Path, help="a folder of outputs that were made before")
    given = parser.parse_args()
    for name in given.examples:
        if given.kept is not None:
            keep(name, given.kept / name)
            continue
        with tempfile.TemporaryDirectory() as made:
            script = ROOT / "examples" / f"{name}.py"
            subprocess.run([sys.executable, script, "--out", made, *EXAMPLES[name]], check=True, cwd=ROOT)
            keep(name, Path(made))


if __name__ == "__main__":
    main()
