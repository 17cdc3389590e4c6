"""The iterates themselves, in memory or in a file that is mapped into it.

Where a network has buffers (BatchNorm's statistics), each iterate keeps its own, in memory in either case.

In a file, iterate i is row i of an [n, P] array of raw numbers in the machine's byte order: the parameters
flattened and concatenated in their order (`bayessgd.params.flatten`). A row is appended per update, so n
may exceed the memory many times over, and the posterior's draws are views of the mapped file: only what is
read is loaded. The number of rows that count is in the `state_dict`; rows that were written after it, by a
run that then stopped, are written over when the run goes on.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from bayessgd.collectors._collector import Collector, accumulator_type
from bayessgd.collectors._states import taken
from bayessgd.params import named_buffers, unflatten
from bayessgd.posteriors import Ensemble
from bayessgd.selection import Selection
from metrics.inputs import check_count

__all__ = ["Trajectory"]


class Trajectory(Collector):
    """Collects the iterates: whole networks, one after another.

    Args:
        model: The network that is trained; it may be compiled, in DDP, or, without a path, sharded by
            `fully_shard`.
        path: A file to write to and map; `None` keeps the iterates in memory. Of several processes only one
            may write to it.
        storage_device: Where iterates in memory are kept, such as "cpu"; `None` is where the parameters are.
        parameters: The part to collect: a module, a name pattern or a predicate (`bayessgd.selection`), such as
            `net.head`, `"*.lora_*"`; the rest stays where the network has it when it predicts. `None` is everything
            that trains.

    Raises:
        TypeError: Not a module.
        ValueError: Sharded parameters with a path, or both a path and a device.
        FileExistsError: At the first update, where the file exists and no state was loaded.

    >>> import torch
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> trajectory = Trajectory(net)
    >>> for value in (1.0, 2.0, 3.0, 4.0):
    ...     _ = net.weight.data.fill_(value)
    ...     trajectory.update()
    >>> trajectory.posterior(skip=1, thin=2).draws["weight"].flatten()
    tensor([2., 4.])
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        path: str | Path | None = None,
        storage_device: torch.device | str | None = None,
        parameters: Selection | None = None,
    ) -> None:
        super().__init__(model, parameters)
        if path is not None and storage_device is not None:
            raise ValueError("path and storage_device must not both be given; a file has no device, drop one")
        if path is not None and not self._whole_here:
            raise ValueError(
                "path must be None under fully_shard, for each process sees a part of a row only"
            )
        self.path = None if path is None else Path(path)
        self._storage_device = storage_device
        self._rows: list[list[Tensor]] = []
        self._model = model
        self._buffers: list[dict[str, Tensor]] = []
        self._dtype = torch.float32
        for parameter in self._parameters:
            self._dtype = torch.promote_types(self._dtype, accumulator_type(parameter))

    def _collect(self, parameters: list[Tensor]) -> None:
        # Of an iterate that is taken anew, after a stop, the buffers of before are written over.
        del self._buffers[self._updates :]
        self._buffers.append(
            {
                name: b.detach().to(self._storage_device or b.device, copy=True)
                for name, b in self._now().items()
            }
        )
        if self.path is not None:
            self._append(self.path, parameters)
            return
        self._rows.append(
            [
                p.detach().to(self._storage_device or p.device, accumulator_type(p), copy=True)
                for p in parameters
            ]
        )

    def _append(self, path: Path, parameters: list[Tensor]) -> None:
        if self._updates == 0 and path.exists() and path.stat().st_size:
            raise FileExistsError(
                f"path must be a new file, got {path}, which exists; load_state_dict or delete it"
            )
        row = torch.cat([p.detach().to("cpu", self._dtype).reshape(-1) for p in parameters])
        path.parent.mkdir(parents=True, exist_ok=True)
        # At its place, not at the end: what a failed write left behind is written over.
        with path.open("r+b" if path.exists() else "wb") as file:
            file.seek(self._updates * row.nbytes)
            file.write(row.view(torch.uint8).numpy().data)

    def posterior(self, *, skip: int = 0, thin: int = 1) -> Ensemble:
        """Return the iterates as an ensemble: the first `skip` left out, then every `thin`-th kept.

        In a file, the draws are views of the mapped file, in one type for all parameters; keep the file while
        they are in use.

        Raises:
            ValueError: Nothing is left.
        """
        skip = check_count(skip, "skip", least=0)
        thin = check_count(thin, "thin")
        self._need(skip + 1, f"Trajectory's posterior after skip={skip}")
        kept = self._buffers[skip::thin]
        buffers = {name: torch.stack([own[name] for own in kept]) for name in kept[0]}
        if self.path is None:
            return Ensemble(self._whole_rows(self._rows[skip::thin]), buffers=buffers)
        like = dict(zip(self._names, self._parameters, strict=True))
        size = sum(p.numel() for p in self._parameters)
        mapped = torch.from_file(str(self.path), size=self._updates * size, dtype=self._dtype)
        return Ensemble(unflatten(mapped.reshape(-1, size)[skip::thin], like), buffers=buffers)

    def _settings(self) -> dict[str, object]:
        return {"mapped": self.path is not None}

    def _now(self) -> dict[str, Tensor]:
        return named_buffers(self._model)

    def _tensors(self) -> dict[str, Tensor]:
        own = self._buffers[0] if self._buffers else {}
        found = {f"buffers/{name}": torch.stack([b[name] for b in self._buffers]) for name in own}
        if self._rows:
            columns = zip(self._names, zip(*self._rows, strict=True), strict=True)
            found |= {name: torch.stack(column) for name, column in columns}
        return found

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        n = self._updates
        if self.path is not None:
            self._check_file(self.path)
        in_memory = [] if self.path is not None or not n else zip(self._names, self._locals(), strict=True)
        columns = [(taken(tensors, name, p, n), p) for name, p in in_memory]
        own = {name: (taken(tensors, f"buffers/{name}", b, n), b) for name, b in self._now().items() if n}
        self._buffers = [
            {name: t[i].to(self._storage_device or b.device, copy=True) for name, (t, b) in own.items()}
            for i in range(n)
        ]
        self._rows = [
            [t[i].to(self._storage_device or p.device, copy=True) for t, p in columns]
            for i in range(n if columns else 0)
        ]

    def _check_file(self, path: Path) -> None:
        size = sum(p.numel() for p in self._parameters) * self._dtype.itemsize * self._updates
        found = path.stat().st_size if path.exists() else 0
        if found < size:
            raise ValueError(
                f"{path} must hold the state's {self._updates} iterates, {size} bytes, got {found}"
            )
