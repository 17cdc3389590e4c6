"""What the examples' command lines share."""

import argparse
from pathlib import Path
from typing import NoReturn

__all__ = ["Parser"]


class Parser(argparse.ArgumentParser):
    """A parser that answers a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the mistake and leave."""
        self.exit(2, f"{self.prog}: {message}\n")

    def check_out(self, out: Path) -> None:
        """Leave before the work where no folder can be made."""
        there = next(place for place in (out, *out.parents) if place.exists())
        if not there.is_dir():
            self.error(f"--out must be a folder, or one that can be made, got {out}: {there} is a file")
