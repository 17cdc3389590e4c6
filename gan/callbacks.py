"""What to do while a GAN trains: judge it, keep the best, stop early, write to TensorBoard.

Each is called as `on_step(step, model, history)`; pass them to `GAN.fit(on_step=[...], on_step_every=500)`. What a
`Judge` measures is what the others look at, so it comes first in the list:

    judge = callbacks.Judge(data.held_out, measures=("energy_distance",))
    model.fit(data, steps=5000, on_step=[judge, callbacks.KeepBest(judge, "energy_distance", "best.safetensors")])
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import metrics
from gan.history import History
from metrics.evaluation.evaluate import LEAST
from metrics.inputs import as_cloud, check_count, from_array

__all__ = ["EarlyStop", "Judge", "KeepBest", "TensorBoard"]


@dataclass
class Judge:
    """Evaluates samples against held-out data while the model trains.

    Attributes:
        reference: Held-out samples, a tensor or an array; as many are drawn from the model. Pictures in bytes are
            scaled to [−1, 1], and other numbers brought to the model's type, as the model sees them.
        measures: Names of the standard measures, or None for all; few are fast.
        seed: Of the model's samples, the same at every look: differences between looks are the model's.
        features: What the measures see; see `metrics.evaluate`.
        reports: What came out: (step, report) after (step, report).
    """

    reference: Tensor
    measures: Sequence[str] | None = ("mmd2", "energy_distance")
    seed: int = 0
    features: Any = None
    reports: list[tuple[int, metrics.Report]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Before hours of training, and not at the first look.
        self.reference = from_array(self.reference, "reference")
        as_cloud(self.reference, "reference", least=LEAST)
        if self.measures is not None:
            _named(self.measures)

    def __call__(self, step: int, model: Any, history: History) -> None:
        """Judge the averaged generator."""
        drawn = model.sample(len(self.reference), seed=self.seed).cpu()
        reference = self.reference.cpu().to(drawn.dtype)
        if self.reference.dtype == torch.uint8:
            reference = reference / 127.5 - 1
        measures = None if self.measures is None else _named(self.measures)
        report = metrics.evaluate(drawn, reference, measures=measures, features=self.features)
        self.reports.append((step, report))

    def values(self, measure: str) -> list[float]:
        """One measure's values, look after look."""
        return [report.estimates[measure].value for _, report in self.reports]


@dataclass
class KeepBest:
    """Saves the model whenever a measure is at its best so far.

    Attributes:
        judge: Whose reports are looked at.
        measure: Of which measure.
        path: Where the model goes (`gan.load` reads it).
        step: When it was best, or None.
    """

    judge: Judge
    measure: str
    path: str | Path
    step: int | None = None

    def __call__(self, step: int, model: Any, history: History) -> None:
        """Save it if it is better."""
        if _best(self.judge, self.measure) == len(self.judge.reports) - 1:
            model.save(self.path)
            self.step = step


@dataclass
class EarlyStop:
    """Ends the training when a measure has not been at its best for some looks.

    Attributes:
        judge: Whose reports are looked at.
        measure: Of which measure.
        patience: Looks without a new best before the end.
    """

    judge: Judge
    measure: str
    patience: int = 5

    def __post_init__(self) -> None:
        self.patience = check_count(self.patience, "patience")

    def __call__(self, step: int, model: Any, history: History) -> bool:
        """Return whether to stop."""
        return len(self.judge.reports) - 1 - _best(self.judge, self.measure) >= self.patience


@dataclass
class TensorBoard:
    """Writes losses, measures and pictures to a `torch.utils.tensorboard.SummaryWriter`, or what is called like one.

    Attributes:
        writer: The writer.
        judge: Whose newest report is written, or None.
        images: Samples to show, where they are images [n, c, h, w].
    """

    writer: Any
    judge: Judge | None = None
    images: int = 16

    def __call__(self, step: int, model: Any, history: History) -> None:
        """Write what is new."""
        for name in ("generator_loss", "critic_loss", "penalty"):
            value = getattr(history, name)[-1]
            if value == value:  # the critic's are NaN at steps that leave it alone
                self.writer.add_scalar(f"loss/{name}", value, step)
        if self.judge is not None and self.judge.reports:
            for name, estimate in self.judge.reports[-1][1].estimates.items():
                self.writer.add_scalar(f"measure/{name}", estimate.value, step)
        drawn = model.sample(self.images, seed=0).cpu()
        if drawn.ndim == 4 and drawn.shape[1] in (1, 3):
            self.writer.add_images("samples", (drawn.clamp(-1, 1) + 1) / 2, step)


def _named(names: Sequence[str]) -> list[metrics.Measure]:
    known = {row.name: each for each in metrics.standard_measures() for row in each.rows}
    if isinstance(names, str):
        raise TypeError(f"measures must be a list of names, got {names!r}; write measures=[{names!r}]")
    unknown = [name for name in names if name not in known]
    if unknown:
        told = (
            ", ".join(map(str, unknown)) if all(isinstance(n, str) for n in unknown) else repr(unknown)[:60]
        )
        raise ValueError(f"measures must be of {', '.join(known)}, got {told}; see metrics.evaluate")
    return list(dict.fromkeys(known[name] for name in names))


def _best(judge: Judge, measure: str) -> int:
    """The index of the best report so far; the first of equals."""
    if not judge.reports:
        raise ValueError("judge must have judged before; put it before this one in on_step")
    estimates = judge.reports[-1][1].estimates
    if measure not in estimates:
        raise ValueError(
            f"measure must be one of the judge's, {', '.join(estimates)}, got {measure!r}; name one"
        )
    values, better = torch.tensor(judge.values(measure)), estimates[measure].better
    if better == "higher":
        return int(values.argmax())
    return int(values.argmin() if better == "lower" else (values - float(better)).abs().argmin())
