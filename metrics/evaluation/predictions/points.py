"""What is kept of predictions: per point, never per posterior sample.

Predictions of S samples at n points become columns [n, ...] in float64, one set of columns per model: the mean
prediction and what the samples said beyond it. Every row of a report is computed from the columns alone, so that
batches need only be joined, and memory is that of one prediction per point. Sums over samples run sample by sample,
in their order: a point's columns do not depend on the batch that it came in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["Columns", "Points"]

Columns = dict[str, Tensor]
"""From a column's name to its values, [n, ...], float64."""


@dataclass(frozen=True)
class Points:
    """Test points with the columns of every model.

    Attributes:
        y: Outcomes, [n, ...].
        weight: Weights that sum to 1, [n].
        models: From a model's name to its columns.
        floor: Columns of the reference's own chains against each other; empty where there are none.
        outside: From a set's name and a model's to its columns, [m, ...].
        draws: From a model's name to the number of its samples.
    """

    y: Tensor
    weight: Tensor
    models: Mapping[str, Columns]
    floor: Columns = field(default_factory=dict)
    outside: Mapping[str, Mapping[str, Columns]] = field(default_factory=dict)
    draws: Mapping[str, int] = field(default_factory=dict)

    def subset(self, pick: Tensor) -> "Points":
        """Return some of the points, their weights normalised anew; strangers stay all."""
        weight = self.weight[pick]
        return Points(
            self.y[pick],
            weight / weight.sum(),
            {name: _rows(columns, pick) for name, columns in self.models.items()},
            _rows(self.floor, pick),
            self.outside,
            self.draws,
        )

    def in_order(self) -> "Points":
        """Return the points in an order that depends on them alone and not on how they came.

        Halves and floors are drawn for places in this order, so that neither batches nor ranks change a report.
        """
        first = next(iter(self.models.values()))
        keys = [self.y.double().flatten(1) if self.y.ndim > 1 else self.y.double()[:, None]]
        keys += [column.flatten(1) if column.ndim > 1 else column[:, None] for column in first.values()]
        order = torch.arange(len(self.y), device=self.y.device)
        # Few columns tell points apart; the last key that is sorted by decides first.
        for key in reversed(torch.cat(keys, 1)[:, :8].unbind(1)):
            order = order[key[order].argsort(stable=True)]
        return self.subset(order)


def _rows(columns: Mapping[str, Tensor], pick: Tensor) -> Columns:
    return {name: column[pick] for name, column in columns.items()}
