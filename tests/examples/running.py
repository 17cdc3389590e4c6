"""A script's command line without a process of its own, whose imports would take longer than the work."""

import io
import logging
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from types import SimpleNamespace


def run(script: str, *arguments: object) -> SimpleNamespace:
    """Call the script's `main` and return its exit code and what it printed, as a finished process has them."""
    out, err = io.StringIO(), io.StringIO()
    log = logging.StreamHandler(err)  # a process without handlers writes warnings to stderr
    logging.getLogger().addHandler(log)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = import_module(script).main([str(each) for each in arguments])
    except SystemExit as leaving:
        code = leaving.code
    finally:
        logging.getLogger().removeHandler(log)
    return SimpleNamespace(returncode=code or 0, stdout=out.getvalue(), stderr=err.getvalue())
