"""The command `python -m metrics`: judge folders of pictures, or files of features, against a reference.

    python -m metrics REAL FAKE [FAKE ...] [--features inception=FILE] [--train DIR] [--out DIR]

Every measure comes with its standard error and beside the floor that a perfect model would score: REAL is split into
halves, one of which is the reference and the other takes a model's place, or `--train` holds other true samples. All
models are judged by as many samples, so that their numbers have an order.
"""

import sys

from metrics.evaluation.command import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
