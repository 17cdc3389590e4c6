"""Calibration errors and the decomposition of Brier's score, with errors by halves and floors by resampling.

All of them are functions of sums over bins: of weights W_b, of residuals D_b = Σ w(p − h) and of outcomes H_b = Σ w
h. The sums of every group of points are taken once; halves of the points are sums of groups.

The *floor* of a calibration error is what a calibrated model with these confidences would show: outcomes are drawn
from the predictions themselves (consistency resampling, Bröcker & Smith 2007), its mean and its scatter told.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from metrics.evaluation.predictions.halves import Halves
from metrics.evaluation.predictions.numbers import Number
from metrics.predictions.binning import bin_index, equal_width_edges
from metrics.predictions.smooth_calibration import residual_cells, smooth_error_of_cells

__all__ = ["Forecasts", "binned_error", "brier_parts", "smooth_error"]

REPEATS = 100
"""Draws of a floor: they tell its mean to a tenth of its scatter."""

COARSE = 512
"""Cells for the halves and the floor of the smooth error."""

HALVINGS = 18
"""Bisections there: to 4e-6, where the error of an error is some percent."""


@dataclass(frozen=True)
class Forecasts:
    """k forecasts per point and whether each event came.

    Attributes:
        forecast: Probabilities, [n, k].
        outcome: 0 or 1, [n, k].
        weight: Of the points, [n]; sums to 1.
        bins: B.
        halves: Of the points.
        draw: From a generator to outcomes [n, k] drawn from the forecasts, by which the floor is made.
    """

    forecast: Tensor
    outcome: Tensor
    weight: Tensor
    bins: int
    halves: Halves
    draw: Callable[[torch.Generator], Tensor]

    @property
    def slots(self) -> Tensor:
        """The bin of each forecast, bin b of event k at b + B·k, [n, k]."""
        k = self.forecast.shape[1]
        index = bin_index(self.forecast, equal_width_edges(self.forecast, self.bins))
        return index + self.bins * torch.arange(k, device=index.device)

    def number(
        self,
        statistic: Callable[[Tensor], Tensor],
        sums: Tensor,
        better: str,
        convention: str,
        floor: tuple[float, float] | None = None,
        *,
        bounded: bool = True,
    ) -> Number:
        """Return a statistic of sums [G, slots] as a number with terms by halves."""
        n = len(self.weight)
        return Number(
            float(statistic(sums.sum(0, keepdim=True))[0]),
            self.halves.terms(statistic, sums),
            "higher" if better == "higher" else ("neither" if better == "neither" else "lower"),
            convention,
            (n, n),
            dof=self.halves.dof,
            floor=floor,
            bounded=bounded,
            scatter=0.0 if floor is None else floor[1],
        )


def binned_error(f: Forecasts, convention: str) -> Number:
    """Return the mean over the k events of Σ_b |D_b|, the l1 calibration error; with k = 1 that of the top label."""
    slots, k = f.slots, f.forecast.shape[1]
    width, w = f.bins * k, f.weight[:, None]
    residual = f.halves.sums(w * (f.forecast - f.outcome), slots, width)
    mass = f.halves.sums(w, torch.zeros_like(slots[:, :1]), 1)

    def error(sums: Tensor) -> Tensor:
        return sums[:, :-1].abs().sum(1) / sums[:, -1] / k

    def total(values: Tensor) -> Tensor:
        return torch.zeros(width, dtype=torch.float64, device=w.device).index_add_(
            0, slots.flatten(), values.flatten()
        )

    predicted, random = total(w * f.forecast), torch.Generator(w.device).manual_seed(0)
    drawn = torch.stack([(predicted - total(w * f.draw(random))).abs().sum() / k for _ in range(REPEATS)])
    floor = (float(drawn.mean()), float(drawn.std()))
    return f.number(error, torch.cat([residual, mass], 1), "lower", convention, floor)


def brier_parts(f: Forecasts) -> dict[str, Number]:
    """Return reliability, resolution and uncertainty, summed over the k classes (see `brier_decomposition`)."""
    slots, k = f.slots, f.forecast.shape[1]
    width, w = f.bins * k, f.weight[:, None]
    w = w.expand_as(f.forecast)
    parts = [f.halves.sums(value, slots, width) for value in (w, w * (f.forecast - f.outcome), w * f.outcome)]
    sums = torch.stack(parts, 2).flatten(1)

    def split(sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shares of weight, residuals and outcomes, [rows, k, bins] each."""
        every = sums.reshape(len(sums), k, f.bins, 3)
        return tuple((every / every[..., :1].sum(2, keepdim=True)).unbind(3))  # pyright: ignore[reportReturnType]

    def reliability(sums: Tensor) -> Tensor:
        mass, residual, _ = split(sums)
        return (residual.square() / mass.clamp(min=1e-300)).sum((1, 2))

    def resolution(sums: Tensor) -> Tensor:
        mass, _, came = split(sums)
        return (came.square() / mass.clamp(min=1e-300)).sum((1, 2)) - came.sum(2).square().sum(1)

    def uncertainty(sums: Tensor) -> Tensor:
        base = split(sums)[2].sum(2)
        return (base * (1 - base)).sum(1)

    number = partial(f.number, sums=sums, bounded=False)
    told = f"{f.bins} bins of equal width a class"
    within, across = _second_orders(f, parts, k)
    return {
        "brier_reliability": replace(
            number(reliability, better="lower", convention=f"Σ (forecast − frequency)², {told}"),
            second=within[0],
        ),
        "brier_resolution": replace(
            number(resolution, better="higher", convention=f"Σ (frequency − base rate)², {told}"),
            second=within[1] - across,
        ),
        "brier_uncertainty": replace(
            number(uncertainty, better="neither", convention="Σ h̄(1 − h̄), of the outcomes alone"),
            second=across,
        ),
    }


def _second_orders(f: Forecasts, parts: list[Tensor], k: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The forms Σ_b d_b d_b'/m_b of the bins' ratios D/m and H/m, and Σ_k of the base rates, between halves, [R, R]."""
    mass, *others = parts
    total = mass.sum(0)
    change = f.halves.deviations(mass)
    forms = []
    for part in others:
        ratio = part.sum(0) / total.clamp(min=1e-300)
        # Where a bin is empty nothing changes.
        moved = (f.halves.deviations(part) - ratio * change) / total.clamp(min=1e-300).sqrt()
        forms.append(moved @ moved.T)
    came, weight = (one.reshape(f.halves.groups, k, -1).sum(2) for one in (parts[2], mass))
    base = came.sum(0) / weight.sum(0)
    moved = f.halves.deviations(came) - base * f.halves.deviations(weight)
    return (forms[0], forms[1]), moved @ moved.T


def smooth_error(f: Forecasts) -> Number:
    """Return SmoothECE of one forecast per point, its own width (see `smooth_calibration_error`)."""
    confidence, w = f.forecast[:, 0].contiguous(), f.weight
    residual = w * (f.outcome[:, 0] - confidence)
    index = (confidence * COARSE).long().clamp(0, COARSE - 1)
    sums = f.halves.sums(residual, index, COARSE)
    mass = f.halves.sums(w, torch.zeros_like(index), 1)

    def error(sums: Tensor) -> Tensor:
        return smooth_error_of_cells(sums[:, :-1] / sums[:, -1:], halvings=HALVINGS)

    n = len(w)
    random = torch.Generator(w.device).manual_seed(0)
    drawn = smooth_error_of_cells(
        torch.stack(
            [
                residual_cells(confidence, w * (f.draw(random)[:, 0] - confidence), cells=COARSE)
                for _ in range(REPEATS)
            ]
        ),
        halvings=HALVINGS,
    )
    value = smooth_error_of_cells(residual_cells(confidence, residual)[None])[0]
    return Number(
        float(value),
        f.halves.terms(error, torch.cat([sums, mass], 1)),
        "lower",
        "top-label SmoothECE at its own width",
        (n, n),
        dof=f.halves.dof,
        floor=(float(drawn.mean()), float(drawn.std())),
        bounded=True,
        scatter=float(drawn.std()),
    )
