"""The report of four posteriors, and each measure of predictions beside its peers: values and times.

    python benchmarks/predictions.py [--repeats 15] [--out benchmarks/results]

Peers (torchmetrics, torch-uncertainty, scikit-learn, scoringrules, properscoring, uncertainty-toolbox, relplot) are
called in the same process where they are installed, in turn with ours. The data are 100 posterior samples' predictions
of 10 000 points: of 10 classes, and of one number.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peer_imports import named, without_compiled_torchvision
from timing import Timing, machine, peak_memory, timed
from torch import Tensor

import metrics

SAMPLES, POINTS, CLASSES = 100, 10_000, 10

Row = dict[str, Callable[[], object]]
"""From a package's name to a call that gives its number; ours is the first."""


def posteriors(count: int) -> tuple[dict[str, Tensor], Tensor]:
    """Predictions [samples, n, classes] of some posteriors, each a little sharper, and labels."""
    random = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(POINTS, CLASSES, generator=random)
    labels = torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
    models = {}
    for k in range(count):
        noise = torch.randn(SAMPLES, POINTS, CLASSES, generator=random)
        models[f"posterior {k + 1}"] = noise.mul_(0.5).add_((1 + 0.2 * k) * logits).softmax(-1)
    return models, labels


def module(make: Callable[[], object], *given: Tensor) -> Callable[[], object]:
    """A torchmetrics module made, fed and read, as users do."""

    def call() -> object:
        metric: Any = make()
        metric.update(*given)
        return metric.compute()

    return call


def rows_of_classes(samples: Tensor, labels: Tensor) -> dict[str, Row]:
    """Measures of the mean prediction, and of samples."""
    import torch_uncertainty.metrics as tu
    from sklearn.metrics import log_loss, roc_auc_score
    from torchmetrics.functional.classification import binary_auroc, multiclass_calibration_error

    p = samples.mean(0)
    array, truth = p.numpy(), labels.numpy()
    many = samples.transpose(0, 1).contiguous()  # torch-uncertainty has samples second
    known, strangers = metrics.predictive_entropy(samples), metrics.predictive_entropy(samples) + 0.5
    both = torch.cat([known, strangers])
    which = torch.cat([torch.zeros(POINTS), torch.ones(POINTS)]).long()
    confidence, right = p.max(1).values, (p.argmax(1) == labels).long()
    rows: dict[str, Row] = {
        "NLL": {
            "ours": lambda: metrics.categorical_nll(p, labels),
            "scikit-learn": lambda: log_loss(truth, array),
            "torch-uncertainty": module(tu.CategoricalNLL, p, labels),
        },
        "Brier": {
            "ours": lambda: metrics.brier_score(p, labels),
            "torch-uncertainty": module(lambda: tu.BrierScore(num_classes=CLASSES), p, labels),
        },
        "calibration error": {
            "ours": lambda: metrics.calibration_error(p, labels),
            "torchmetrics": lambda: multiclass_calibration_error(p, labels, CLASSES, n_bins=15),
            "torch-uncertainty": module(
                lambda: tu.CalibrationError(task="multiclass", num_classes=CLASSES, num_bins=15), p, labels
            ),
        },
        "adaptive calibration error": {
            "ours": lambda: metrics.calibration_error(p, labels, adaptive=True),
            "torch-uncertainty": module(
                lambda: tu.AdaptiveCalibrationError(task="multiclass", num_classes=CLASSES, num_bins=15),
                p,
                labels,
            ),
        },
        "classwise calibration error": {
            "ours": lambda: metrics.classwise_calibration_error(p, labels).mean(),
            "torch-uncertainty": module(
                lambda: tu.ClasswiseCalibrationError(num_classes=CLASSES, num_bins=15), p, labels
            ),
        },
        "SmoothECE": {
            "ours": lambda: metrics.smooth_calibration_error(p, labels),
            "relplot": lambda: _relplot(confidence, right),
            "torch-uncertainty": module(
                lambda: tu.SmoothCalibrationError(kernel_type="reflected"), p, labels
            ),
        },
        "AURC": {
            "ours": lambda: metrics.risk_coverage(p, labels).area,
            "torch-uncertainty": module(tu.AURC, p, labels),
        },
        "error detection AUROC": {
            "ours": lambda: metrics.error_detection_auroc(p, labels).value,
            "torchmetrics": lambda: binary_auroc(confidence, right),
            "scikit-learn": lambda: roc_auc_score(right.numpy(), confidence.numpy()),
        },
        "outside AUROC": {
            "ours": lambda: metrics.out_of_distribution_auroc(inside=known, outside=strangers).value,
            "torchmetrics": lambda: binary_auroc(both, which),
            "scikit-learn": lambda: roc_auc_score(which.numpy(), both.numpy()),
        },
        "FPR95": {
            "ours": lambda: metrics.false_positive_rate(inside=-strangers, outside=-known),
            "torch-uncertainty": module(lambda: tu.FPR95(pos_label=1), both, which),
        },
        "entropy of the mean": {
            "ours": lambda: metrics.predictive_entropy(p[None]).mean(),
            "torch-uncertainty": module(tu.Entropy, p),
        },
        "mutual information, 100 samples": {
            "ours": lambda: metrics.mutual_information(samples).mean(),
            "torch-uncertainty": module(tu.MutualInformation, many),
        },
    }
    return rows


def _relplot(confidence: Tensor, right: Tensor) -> float:
    from relplot import smECE

    return float(smECE(f=confidence.double().numpy(), y=right.double().numpy()))


def rows_of_regression() -> dict[str, Row]:
    """Measures of 100 draws of one number at every point; the energy score of vectors of 3 at a tenth of the points."""
    import properscoring
    import scoringrules
    from torchmetrics.regression import ContinuousRankedProbabilityScore
    from uncertainty_toolbox.metrics_calibration import mean_absolute_calibration_error

    random = torch.Generator().manual_seed(0)
    mean, y = torch.randn(POINTS, generator=random), torch.randn(POINTS, generator=random)
    std = 0.5 + torch.rand(POINTS, generator=random)
    draws = mean + std * torch.randn(SAMPLES, POINTS, generator=random)
    last, outcomes = draws.T.contiguous(), y.numpy()
    m, s, per_point = mean.numpy(), std.numpy(), last.numpy()
    vectors = torch.randn(SAMPLES, POINTS // 10, 3, generator=random)
    target = torch.randn(POINTS // 10, 3, generator=random)
    by_point, targets = vectors.transpose(0, 1).contiguous().numpy(), target.numpy()
    lower, upper = mean - 1.645 * std, mean + 1.645 * std
    pit = torch.special.ndtr((y - mean) / std)
    return {
        "CRPS, Gaussian": {
            "ours": lambda: metrics.crps_gaussian(mean, std, y),
            "scoringrules": lambda: scoringrules.crps_normal(outcomes, m, s).mean(),
            "properscoring": lambda: properscoring.crps_gaussian(outcomes, m, s).mean(),
        },
        "CRPS, 100 draws": {
            "ours": lambda: metrics.crps_ensemble(draws, y),
            "scoringrules": lambda: scoringrules.crps_ensemble(outcomes, per_point, estimator="qd").mean(),
            "properscoring": lambda: properscoring.crps_ensemble(outcomes, per_point).mean(),
            "torchmetrics": module(ContinuousRankedProbabilityScore, last, y),
        },
        "energy score, 1 000 × 3": {
            "ours": lambda: metrics.energy_score(vectors, target),
            "scoringrules": lambda: scoringrules.es_ensemble(targets, by_point).mean(),
        },
        "interval score": {
            "ours": lambda: metrics.interval_score(lower, upper, y, level=0.9).mean(),
            "scoringrules": lambda: scoringrules.interval_score(
                outcomes, lower.numpy(), upper.numpy(), 0.1
            ).mean(),
        },
        "quantile calibration": {
            "ours": lambda: metrics.quantile_calibration_error(pit),
            "uncertainty-toolbox": lambda: mean_absolute_calibration_error(
                m, s, outcomes, prop_type="quantile"
            ),
        },
    }


def line(name: str, row: Row, repeats: int) -> str:
    """Values and times of one measure: ours, and the fastest peer's time over ours."""
    values = {package: float(torch.as_tensor(call())) for package, call in row.items()}
    times = dict(zip(row, timed(repeats, *row.values()), strict=True))
    peers = [package for package in row if package != "ours"]
    best = min(peers, key=lambda package: times[package].seconds)
    ratio, stderr = times[best].over(times["ours"])
    told = ", ".join(f"{p} {values[p]:.6f} in {_ms(times[p])}" for p in peers)
    return f"| {name} | {values['ours']:.6f} | {_ms(times['ours'])} | {told} | {ratio:.2f} ± {stderr:.2f} |"


def _ms(timing: Timing) -> str:
    return f"{1000 * timing.seconds:.2f} ms"


def report_of_four() -> tuple[Tensor, Tensor, tuple[Timing, Timing], float]:
    """One posterior's predictions, the labels, and what the report of four takes: seconds, the processor's, and MiB."""
    models, labels = posteriors(4)
    before = peak_memory()

    def report() -> object:
        return metrics.evaluate_predictions(models, labels)

    times = timed(3, report, warm_up=1)[0], timed(3, report, warm_up=0, clock=time.process_time)[0]
    return models["posterior 1"], labels, times, peak_memory() - before


def main() -> None:
    """Print the tables and write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    samples, labels, report, memory = report_of_four()
    without_compiled_torchvision()
    packages = ("torchmetrics", "torch_uncertainty", "scikit-learn", "scoringrules", "properscoring")
    lines = [
        f"{machine()}; {', '.join(named(p) for p in (*packages, 'uncertainty-toolbox', 'relplot'))}.",
        "",
        f"`evaluate_predictions` of four posteriors, {SAMPLES} samples × {POINTS:,} points × {CLASSES} classes in "
        f"float32: {report[0].seconds:.2f} s, {report[1].seconds:.2f} s of one core's time, "
        f"{memory:.0f} MiB beyond the inputs.",
        "",
        f"Each measure by itself on one posterior; medians of {args.repeats} rounds, contenders in turn. The last",
        "column is the fastest peer's time over ours: above 1 ours is faster.",
        "",
        "| measure | ours | time | peers | fastest peer over ours |",
        "|---|---|---|---|---|",
    ]
    for name, row in (rows_of_classes(samples, labels) | rows_of_regression()).items():
        lines.append(line(name, row, args.repeats))
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "predictions.md").write_text(text)
    print("\n".join(lines[:4]))


if __name__ == "__main__":
    main()
