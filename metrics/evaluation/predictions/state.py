"""The columns of predictions that come in pieces, as the state of an accumulator."""

import json
from collections.abc import Mapping

import torch
from torch import Tensor

from metrics.evaluation.predictions.points import Columns, Points

__all__ = ["PointState"]

Key = tuple[str, ...]
"""Where a column belongs: ("models", model, column), ("outside", set, model, column), …"""


class PointState:
    """Columns under keys, in pieces that are joined when they are read.

    >>> one, other = (PointState({("y",): torch.full((2,), v, dtype=torch.float64)}) for v in (1.0, 2.0))
    >>> one.absorb(other)
    >>> one.column(("y",))
    tensor([1., 1., 2., 2.], dtype=torch.float64)
    """

    def __init__(self, columns: Mapping[Key, Tensor]) -> None:
        self._pieces = {key: [column] for key, column in columns.items()}

    def column(self, key: Key) -> Tensor:
        """Return a column of all points so far."""
        if len(self._pieces[key]) > 1:
            self._pieces[key] = [torch.cat(self._pieces[key])]
        return self._pieces[key][0]

    def keys(self) -> list[Key]:
        """Return all keys, in the order that they came."""
        return list(self._pieces)

    def tensors(self) -> dict[str, Tensor]:
        """Return the columns end to end, and the layout that tells them apart."""
        columns = {key: self.column(key) for key in self._pieces}
        layout = json.dumps([[list(key), list(column.shape)] for key, column in columns.items()])
        flat = [column.double().flatten() for column in columns.values()]
        values = torch.cat(flat) if flat else torch.zeros(0, dtype=torch.float64)
        return {"layout": torch.frombuffer(bytearray(layout.encode()), dtype=torch.uint8), "values": values}

    def restored(self, tensors: Mapping[str, Tensor]) -> "PointState":
        """Return the state that had these tensors."""
        layout, values, first = json.loads(bytes(tensors["layout"].tolist())), tensors["values"], 0
        columns = {}
        for key, shape in layout:
            size = torch.Size(shape).numel()
            columns[tuple(key)] = values[first : first + size].reshape(shape)
            first += size
        return PointState(columns)

    def absorb(self, other: "PointState") -> None:
        """Take the points of another state in; strangers may come in some batches only."""
        if self._pieces:
            mine, theirs = ({key for key in state._pieces if key[0] != "outside"} for state in (self, other))
            if mine != theirs:
                odd = sorted(" ".join(key) for key in mine ^ theirs)
                raise ValueError(
                    f"every batch must hold the same models and arguments, got {odd} in some only; pass all of them"
                )
            for key in sorted(mine):
                if key[0] == "draws" and bool((self.column(key)[0] != other.column(key)[0]).any()):
                    raise ValueError(
                        f"every batch must hold as many samples of {key[1]}, got {int(self.column(key)[0])} and "
                        f"{int(other.column(key)[0])}; predict all with one bank of samples"
                    )
        for key in list(other._pieces):
            pieces = self._pieces.setdefault(key, [])
            if key[0] in ("draws", "kind") and pieces:
                continue
            pieces.append(other.column(key))

    def points(self, integers: bool) -> Points:
        """Return the points; labels are whole numbers again where `integers` says that they were."""
        y, weight = self.column(("y",)), self.column(("weight",))
        models: dict[str, Columns] = {}
        outside: dict[str, dict[str, Columns]] = {}
        floor: Columns = {}
        draws: dict[str, int] = {}
        for key in self._pieces:
            match key:
                case ("models", name, column):
                    models.setdefault(name, {})[column] = self.column(key)
                case ("outside", kind, name, column):
                    outside.setdefault(kind, {}).setdefault(name, {})[column] = self.column(key)
                case ("floor", column):
                    floor[column] = self.column(key)
                case ("draws", name):
                    draws[name] = int(self.column(key)[0])
                case _:
                    pass
        return Points(y.long() if integers else y, weight / weight.sum(), models, floor, outside, draws)
