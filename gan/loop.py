"""What happens between the steps of a training: the bar, looks, checkpoints, and the end of a run that diverged."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from gan import checkpoint
from gan.distributed import rank
from gan.game import Game
from gan.history import History
from metrics import locks

__all__ = ["Look", "Loop", "OnStep", "TrainingDivergedError"]

logger = logging.getLogger("gan")
# Losses stay on the device between two looks, so that a step never waits for the host.
LOOK_EVERY = 50
REMEDY = "lower the learning rate or strengthen the penalties"

OnStep = Callable[[int, Any, History], object]
"""`on_step(step, model, history)`, called after so many steps; what returns True ends the training."""


class TrainingDivergedError(RuntimeError):
    """A loss or a weight stopped being finite; the message names the step and the last good checkpoint."""


@dataclass
class Look:
    """What happens between steps: the bar, the checkpoint and the user's own look."""

    path: Path | None = None
    save_every: int = 500
    progress: bool = True
    on_step: Sequence[OnStep] = ()
    on_step_every: int = 500
    model: Any = field(default=None, repr=False)

    def wants(self, done: int, steps: int) -> bool:
        """Whether the user looks after this step."""
        return bool(self.on_step) and (done % self.on_step_every == 0 or done == steps)

    def asks_to_stop(self, done: int, history: History) -> bool:
        """Call everyone who looks; whether any of them wants the training to end.

        Who puts a network into evaluation mode, to sample from it, and leaves it there has not changed the training.
        """
        players = [getattr(self.model, name, None) for name in ("generator", "critic")]
        modes = [(part, part.training) for net in players if net is not None for part in net.modules()]
        answers = [call(done, self.model, history) for call in self.on_step]
        for part, training in modes:
            part.training = training
        return any(_is_yes(answer) for answer in answers)

    def saves(self, done: int, steps: int) -> bool:
        """Whether a checkpoint is due; of several processes the first one writes it."""
        return self.path is not None and (done % self.save_every == 0 or done == steps)


class Loop:
    """A game and the number of steps that it is played for."""

    def __init__(self, game: Game, *, steps: int) -> None:
        self.game, self.steps = game, steps

    def run(self, history: History, look: Look, identity: Callable[[], Mapping[str, object]]) -> None:
        """Train from the end of `history` to the last step, with a bar, looks and checkpoints."""
        with self._alone(look.path):
            self._run(history, look, identity)

    def _run(self, history: History, look: Look, identity: Callable[[], Mapping[str, object]]) -> None:
        if look.path is not None:
            identity = partial(dict, identity())  # the data's fingerprint is taken once
            self._restore(look.path, identity(), history)
        pending: list[Tensor] = []
        start = len(history)
        quiet = None if look.progress and rank() == 0 else True
        with tqdm(total=self.steps, initial=start, disable=quiet, desc="training") as bar:
            for step in range(start, self.steps):
                try:
                    pending.append(self.game.step(step, step / self.steps))
                except ValueError as error:
                    self._refuse_divergence(pending, history, step, look.path, error)
                    raise
                done = step + 1
                save, wanted = look.saves(done, self.steps), look.wants(done, self.steps)
                if save or wanted or len(pending) == LOOK_EVERY or done == self.steps:
                    self._look(pending, history, look.path)
                    bar.update(len(pending))
                    bar.set_postfix(generator=f"{history.generator_loss[-1]:.3f}", refresh=False)
                    pending = []
                stop = wanted and look.asks_to_stop(done, history)
                self._refuse_other_players(look.model)
                if save or stop or done == self.steps:
                    # A finite loss can have a gradient that is not, which no later loss would tell of.
                    self._refuse_bad_weights(done, look.path)
                if look.path is not None and (save or stop) and rank() == 0:
                    checkpoint.save(look.path, self.game.parts(), identity(), history, self.game.draws())
                if stop:
                    break

    def _alone(self, path: Path | None) -> AbstractContextManager[None]:
        """The only run with this checkpoint, or none; of several processes the first one writes it."""
        if path is None or rank() > 0:
            return nullcontext()
        if path.is_dir():
            raise ValueError(
                f"checkpoint must be a file, got the folder {path}; write {path / 'run.safetensors'}"
            )
        remedy = "name another checkpoint, or wait until that run has ended"
        return locks.only_holder(path, "checkpoint", remedy)

    def _restore(self, path: Path, identity: Mapping[str, object], history: History) -> None:
        if not path.exists():
            return
        draws = self.game.draws()
        before = checkpoint.restore(path, self.game.parts(), identity, history, draws)
        self.game.drawn = draws.drawn
        if len(history) > self.steps:
            raise ValueError(
                f"steps must be at least the {len(history)} that {path} has done, got {self.steps}; ask for more, or "
                "choose another name"
            )
        if before != self.steps and len(history) < self.steps:
            settings = self.game.settings
            rate = settings.rate(len(history) / self.steps)
            logger.warning(
                "%s was a run of %d steps and goes on from step %d as one of %d: its schedules are those of the longer "
                "run, the learning rate from here on %.2g falling to %.2g",
                *(path, before, len(history), self.steps, rate, settings.final_learning_rate),
            )

    def _look(self, pending: list[Tensor], history: History, path: Path | None) -> None:
        if not pending:
            return
        rows = torch.stack(pending).double().cpu()
        # The critic's columns are NaN by design at the steps that left it alone.
        critic_moved = (
            torch.arange(len(history), len(history) + len(rows)) % self.game.settings.critic_every == 0
        )
        looked = rows if self.game.critic is not None else rows[:, 1:2]
        looked = torch.where(critic_moved[:, None], looked, rows[:, 1:2])
        bad = ~looked.isfinite().all(1)
        if bool(bad.any()):
            step = len(history) + int(bad.nonzero()[0])
            # Nothing has been learned yet: it is the numbers that went in.
            remedy = f"bring the data to a scale of about 1, or {REMEDY}" if step == 0 else REMEDY
            raise TrainingDivergedError(
                f"a loss stopped being finite at step {step}; {_last_good(path, remedy)}"
            )
        history.extend(rows)

    def _refuse_divergence(
        self, pending: list[Tensor], history: History, step: int, path: Path | None, error: ValueError
    ) -> None:
        """A loss that refuses NaN samples tells of the divergence in its own words; say where it began."""
        try:
            if pending:
                self._look(pending, history, path)
            self._refuse_bad_weights(step, path)
        except TrainingDivergedError as divergence:
            raise divergence from error

    def _refuse_other_players(self, model: Any) -> None:
        """Refuse networks that a look has put in the players' places: the optimizers hold the old ones' weights."""
        for name in ("generator", "critic"):
            if model is not None and getattr(model, name) is not getattr(self.game, name):
                raise ValueError(
                    f"{name} must stay the one that the run began with, and on_step replaced it; change its weights in "
                    f"place, model.{name}.load_state_dict(...), or begin another run"
                )

    def _refuse_bad_weights(self, done: int, path: Path | None) -> None:
        for name, part in self.game.parts().items():
            if isinstance(part, nn.Module) and not all(bool(p.isfinite().all()) for p in part.parameters()):
                raise TrainingDivergedError(
                    f"a weight of the {name} stopped being finite by step {done}; {_last_good(path)}"
                )


def _is_yes(answer: object) -> bool:
    """Whether a look answered with a true truth value, of Python, NumPy or torch; another value is no answer."""
    if isinstance(answer, Tensor):
        return answer.dtype == torch.bool and answer.numel() == 1 and bool(answer)
    return isinstance(answer, bool | np.bool_) and bool(answer)


def _last_good(path: Path | None, remedy: str = REMEDY) -> str:
    if path is None:
        return f"there is no checkpoint (pass checkpoint=); {remedy}"
    return f"the last good checkpoint is {path if path.exists() else 'not written yet'}; {remedy}"
