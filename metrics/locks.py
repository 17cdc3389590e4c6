"""Locks between processes that end with their holder, also by kill -9: the system's own, on files.

Two runs that write one checkpoint would each overwrite what the other did. `only_holder` lets one of them in. The lock
is a file beside the checkpoint, `.NAME.lock`, with the holder's process number in it; what counts is the system's lock
on that file, which ends with the process, so that the file of a run that was killed stops nobody and no clock is asked.
Where the file system has no locks (or on Windows) nothing is locked.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import IO

__all__ = ["lock_open_file", "only_holder"]

_held: set[Path] = set()
"""This process's own: the system does not tell two threads of one process apart."""


def _fcntl() -> ModuleType | None:
    try:
        import fcntl
    except ImportError:
        return None
    return fcntl


def lock_open_file(file: IO[bytes]) -> bool:
    """Whether an open file could be locked, until it is closed; False also where there are no locks."""
    fcntl = _fcntl()
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def only_holder(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Be the only one with this file, until the block ends or the process does.

    Args:
        path: The file; it need not exist.
        what: What it is, for the message, such as "checkpoint".
        remedy: What to do where another one has it.

    Raises:
        ValueError: Another process, or another thread of this one, has it.
        OSError: Its folder cannot be written to.
    """
    whole = path.resolve()
    beside = whole.with_name(f".{whole.name}.lock")
    if whole in _held:
        raise ValueError(f"{what} {path} is being written by another run of this process; {remedy}")
    handle = _locked(beside, f"{what} {path}", remedy)
    _held.add(whole)
    try:
        yield
    finally:
        _held.discard(whole)
        if handle is not None:
            # Taken away while it is locked: who opened it before finds another file in its place and tries again.
            with suppress(OSError):
                beside.unlink()
            os.close(handle)


def _locked(beside: Path, told: str, remedy: str) -> int | None:
    """The lock file, open and locked; None where there are no locks."""
    fcntl = _fcntl()
    while True:
        try:
            beside.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(beside, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OSError(
                error.errno, f"{told} cannot be written ({error.strerror}); choose a folder that can be"
            ) from None
        if fcntl is None:
            return handle
        try:
            # A lock of the process and not of the open file: a loader's workers, which outlive a run that was killed
            # by seconds, do not inherit it.
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            holder = os.read(handle, 100).decode(errors="replace").strip()
            os.close(handle)
            raise ValueError(
                f"{told} is being written by another run ({holder or 'unknown'}); {remedy}"
            ) from None
        except OSError:
            return handle
        if _is_at(handle, beside):
            with suppress(OSError):  # on a full disk it stays without a name
                os.truncate(handle, 0)
                os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            return handle
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
