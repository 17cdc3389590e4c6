"""Soft labels: what a network learns that is told to be less sure.

    hard        y = e_k                       label k, with certainty
    smoothed    y = (1 − ε) e_k + ε/10        Szegedy et al. 2016
    teacher     y = p̄(x)^(1/T) / Σ            the mean of trained networks at temperature T, Hinton et al. 2015

Hinton et al. divide the student's own logits by T too while it learns, and not when it answers. Here it learns and
answers at temperature 1, as from any other label, and so it stays as unsure as it was told to be.

Cross-entropy is least where the network answers with its targets, so hard labels drive weights and confidence up for as
long as training goes on, and smoothed ones stop at 1 − 0.9 ε. Confidence is judged by what comes true on held-out
images: the calibration error beside its floor, which is what a calibrated network would show on as many images.
"""

from dataclasses import dataclass

import torch
from backprop_network import CROSS_ENTROPY, SOFTMAX, Model
from backprop_parts import BATCH_SIZE, RATES, Part, Setting, interval, seeded, told, train
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from metrics.plots import COLOURS
from metrics.predictions import calibration_error, calibration_floor, reliability_diagram

__all__ = ["labels", "smoothed"]

SMOOTHING = (0.01, 0.02, 0.05, 0.1, 0.2)
TEMPERATURE = 2.0
BINS = 10
LENGTH = 2
"""How much longer than other trainings: overconfidence takes its time."""


@dataclass(frozen=True)
class _Judged:
    """Networks trained on one kind of label, a value per seed; errors on held-out images with their hard labels."""

    probs: Tensor
    error: Tensor
    entropy: Tensor
    calibration: Tensor
    floor: Tensor


def smoothed(y: Tensor, epsilon: float) -> Tensor:
    """Return (1 − ε) y + ε/classes.

    >>> smoothed(torch.tensor([0.0, 1.0]), 0.2)
    tensor([0.1000, 0.9000])
    """
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must be from 0 to 1, got {epsilon}; 0 leaves the labels hard")
    return (1 - epsilon) * y + epsilon / y.shape[-1]


def labels(setting: Setting) -> Part:
    """Train on hard, smoothed and a teacher's labels, and compare errors, cross-entropies and calibration."""
    model = Model(setting.model.sizes, setting.model.smooth().hidden, SOFTMAX, CROSS_ENTROPY)
    judged: dict[str, _Judged] = {}
    total = (len(SMOOTHING) + 2) * LENGTH * setting.steps
    with tqdm(total=total, desc="labels", disable=not setting.bars) as bar:
        hard = _train(setting, model, setting.y, bar)
        judged["hard"] = _judge(setting, model.predict(hard, setting.held_x))
        targets = {f"ε = {epsilon:g}": smoothed(setting.y, epsilon) for epsilon in SMOOTHING}
        cooled = model.predict(hard, setting.x).mean(0) ** (1 / TEMPERATURE)
        targets["teacher"] = cooled / cooled.sum(-1, keepdim=True)
        for name, soft in targets.items():
            judged[name] = _judge(setting, model.predict(_train(setting, model, soft, bar), setting.held_x))
    rows = []
    for name in ("hard", "ε = 0.01", "ε = 0.1", "teacher"):
        j = judged[name]
        rows.append((f"{name} labels: held-out error", f"{told(j.error)} %"))
        text = f"{told(j.calibration)} % (floor {100 * float(j.floor.mean()):.1f} %)"
        rows.append((f"{name} labels: calibration error", text))
        rows.append((f"{name} labels: held-out cross-entropy, nats", told(j.entropy, 1.0)))
    numbers: dict[str, object] = {
        name: {key: getattr(j, key).tolist() for key in ("error", "entropy", "calibration", "floor")}
        for name, j in judged.items()
    }
    return Part(
        title="Soft labels",
        text=f"{model.hidden.name} units, softmax, cross-entropy, {LENGTH * setting.steps} steps, {setting.seeds} "
        f"seeds, 95 % intervals over seeds. Left: accuracy ± one standard error among held-out images of like "
        f"confidence, seeds pooled; below the diagonal is overconfidence. Middle: top-label calibration error (l1, "
        f"{BINS} bins of equal mass) beside its floor. Right: held-out cross-entropy with the hard labels. The teacher "
        f"is the mean of the networks trained on hard labels, at temperature {TEMPERATURE:g}; its "
        "students learn and answer at 1, unsure as they were told to be.",
        rows=rows,
        numbers=numbers,
        figure=_draw(setting, judged),
    )


def _train(setting: Setting, model: Model, targets: Tensor, bar: tqdm) -> Tensor:
    return train(
        model,
        model.start(setting.seeds, generator=seeded(setting, 30)),
        setting.x,
        targets,
        rate=RATES[model.hidden.name],
        steps=LENGTH * setting.steps,
        batch_size=BATCH_SIZE,
        generator=seeded(setting, 31),
        bar=bar,
    )


def _judge(setting: Setting, probs: Tensor) -> _Judged:
    y = setting.held_labels
    right = probs.gather(-1, y.expand(len(probs), -1)[..., None])[..., 0]
    return _Judged(
        probs=probs,
        error=(probs.argmax(-1) != y).double().mean(-1),
        entropy=-right.log().mean(-1),
        calibration=torch.stack([calibration_error(p, y, bins=BINS, adaptive=True) for p in probs]),
        floor=torch.stack([calibration_floor(p, bins=BINS, adaptive=True, repeats=50).mean() for p in probs]),
    )


def _draw(setting: Setting, judged: dict[str, _Judged]) -> Figure:
    figure = Figure(figsize=(13, 4.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.plot([0, 1], [0, 1], color="0.6", lw=1, ls="--")
    for colour, name in zip((3, 0, 2, 4), ("hard", "ε = 0.01", "ε = 0.1", "teacher"), strict=True):
        probs = judged[name].probs.flatten(0, 1)
        seen = setting.held_labels.repeat(len(judged[name].probs))
        diagram = reliability_diagram(probs, seen, bins=BINS)
        some = diagram.count > 50
        # Networks share their images: the error of an accuracy is that of one network's share of them.
        share = diagram.accuracy[some]
        stderr = (share * (1 - share) * len(judged[name].probs) / diagram.count[some]).sqrt()
        left.errorbar(
            diagram.confidence[some],
            share,
            yerr=stderr,
            marker="o",
            ms=4,
            capsize=2,
            lw=1.2,
            color=COLOURS[colour],
            label=name,
        )
    left.set(xlim=(0.2, 1.01), ylim=(0.2, 1.01), xlabel="confidence", ylabel="accuracy", aspect="equal")
    left.text(0.23, 0.27, "calibrated", color="0.4", rotation=45, rotation_mode="anchor")
    left.set_title("how often the confident are right")
    left.legend(frameon=False, loc="lower right")
    _draw_bars(middle, judged, [100 * j.calibration for j in judged.values()])
    floors = [100 * float(j.floor.mean()) for j in judged.values()]
    middle.plot(
        range(len(judged)), floors, "_", ms=22, mew=2, color="0.2", label="floor: a calibrated network"
    )
    middle.set(ylabel="calibration error, %", ylim=(0, None), title="how far confidence is off")
    middle.legend(frameon=False, loc="upper left")
    _draw_bars(right, judged, [j.entropy for j in judged.values()])
    right.set(ylabel="held-out cross-entropy, nats", title="how well the truth was foreseen")
    return figure


def _draw_bars(axis: Axes, judged: dict[str, _Judged], values: list[Tensor]) -> None:
    mean, half = interval(torch.stack(values))
    colours = [COLOURS[{"hard": 3, "teacher": 4}.get(name, 0)] for name in judged]
    axis.bar(range(len(judged)), mean.tolist(), yerr=half.tolist(), color=colours, alpha=0.75, capsize=3)
    axis.set_xticks(range(len(judged)), [name.replace("ε = ", "ε =\n") for name in judged])
