"""What the examples' command lines share."""

import argparse
from typing import NoReturn

__all__ = ["Parser"]


class Parser(argparse.ArgumentParser):
    """A parser that answers a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the mistake and leave."""
        self.exit(2, f"{self.prog}: {message}\n")
