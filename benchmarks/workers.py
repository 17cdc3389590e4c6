"""Contenders in processes of their own, asked in turn.

Libraries with thread pools of their own disturb each other in one process: idle threads of the one spin on the cores
that the other needs. So every contender has a process, made afresh and not forked, and only one of them works at a
time. The clock runs inside the process: what travels through the pipe does not count.
"""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Answer", "Worker"]

FILLED = 0.1
"""Seconds that calls are repeated for, where one is shorter."""


@dataclass(frozen=True)
class Answer:
    """What a call returned, and the seconds that it took: of several, the mean."""

    result: Any
    seconds: float


class Worker:
    """A process that holds one function.

    Args:
        make: Makes the function, in the process; defined at the top of a module, so that it can be sent there.

    Raises:
        ImportError: The function needs a library that is not installed.
    """

    def __init__(self, make: Callable[[], Callable[..., Any]]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(make, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._received()

    def ask(self, *args: object) -> Answer:
        """Call the function, for a tenth of a second if once is shorter."""
        self._pipe.send(args)
        return self._received()

    def close(self) -> None:
        """Let the process end."""
        self._pipe.close()
        self._process.join()

    def _received(self) -> Any:
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(make: Callable[[], Callable[..., Any]], pipe: Connection) -> None:
    """Answer until the pipe is closed; what goes wrong is an answer too."""
    try:
        function = make()
        pipe.send(None)
        while True:
            pipe.send(_answer(function, pipe.recv()))
    except EOFError:
        pass
    except Exception as error:  # raised again where the question came from
        pipe.send(error)


def _answer(function: Callable[..., Any], args: tuple[object, ...]) -> Answer:
    result, calls, start = None, 0, time.perf_counter()
    while not calls or time.perf_counter() - start < FILLED:
        result = function(*args)
        calls += 1
    return Answer(result, (time.perf_counter() - start) / calls)
