"""What the examples' command lines share."""

import argparse
from pathlib import Path
from typing import NoReturn

from metrics import files

__all__ = ["Parser", "folder"]


class Parser(argparse.ArgumentParser):
    """A parser that answers a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the mistake and leave."""
        self.exit(2, f"{self.prog}: {message}\n")


def folder(path: str) -> Path:
    """Return where results go, a folder or one that can be made: told before the work, not after."""
    try:
        files.check_folder(Path(path))
    except NotADirectoryError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(path)
