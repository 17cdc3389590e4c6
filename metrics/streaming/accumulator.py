"""What every streaming measure does: take batches, merge, save, and compute over all ranks.

A measure of n points is a function of a *state* that n points leave behind, and two states merge into the state of
all their points, s(A ∪ B) = s(A) ⊕ s(B). The operation ⊕ is associative and commutative up to the rounding of
float64, and the state of nothing is its neutral element. Hence an update is a merge with the state of one batch, the
ranks of a distributed run are a merge of their states, and the value depends neither on the sizes of the
batches, nor on their order, nor on the number of ranks. There are three kinds of state: sums that add up
(`metrics.streaming.sums`), moments that merge by Chan's formula (`metrics.streaming.moments`) and clouds that are
kept whole (`metrics.streaming.clouds`).
"""

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from metrics.streaming.ranks import gather_states, rank_count

if TYPE_CHECKING:
    from metrics.streaming.torchmetric import TorchMetric

__all__ = ["Accumulator", "State"]

TYPES = {str(dtype): dtype for dtype in (torch.float32, torch.float64)}


@runtime_checkable
class State(Protocol):
    """What points leave behind."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the state as tensors, under names that never change."""
        ...

    def restored(self, tensors: Mapping[str, Tensor]) -> Any:
        """Return the state that had these tensors."""
        ...

    def absorb(self, other: Any) -> None:
        """Take the points of another state in; the other stays what it was."""
        ...


S = TypeVar("S", bound=State)
R = TypeVar("R")
A = TypeVar("A", bound="Accumulator")


class Accumulator(ABC, Generic[S, R]):
    """A measure fed in batches: `update`, `merge`, `compute`, `reset`, `to`, `state_dict`, `load_state_dict`.

    All batches share one type and device, and the value has that type. Nothing is differentiable. A batch that is
    refused leaves the accumulator as it was.
    """

    def __init__(self, nothing: S) -> None:
        self._state = nothing
        self._nothing = copy.deepcopy(nothing)
        self._dtype: torch.dtype | None = None
        self._device: torch.device | None = None

    @abstractmethod
    def _settings(self) -> dict[str, object]:
        """Return what two accumulators must share to be merged, as JSON."""

    @abstractmethod
    def _value(self, state: S) -> R:
        """Return the measure of a state."""

    def compute(self, *, across_ranks: bool = True) -> R:
        """Return the measure of everything fed so far; the feeding may go on.

        Where `torch.distributed` is initialised it is the measure of what all ranks of the default group were fed,
        the same on each: every rank must call it. No rank's own state changes.

        Args:
            across_ranks: False for the points of this process alone, which needs no other rank.

        Raises:
            ValueError: Fewer points than the measure needs; ranks whose settings or types differ.
        """
        whole = self._over_ranks() if across_ranks and rank_count() > 1 else self
        return whole._value(whole._state)

    def merge(self: A, other: A) -> A:
        """Take in all that another accumulator was fed, which stays as it was; return this one.

        Raises:
            TypeError: Another kind of accumulator, or one fed with another type.
            ValueError: Other settings, another device, another number of columns, or itself.
        """
        if type(other) is not type(self):
            raise TypeError(f"other must be a {type(self).__name__}, got {type(other).__name__}")
        if other is self:
            raise ValueError("other must be another accumulator, got itself; its points would count twice")
        self._check_identity(other._identity(), "other")
        self._absorb(other._state, other._dtype, other._device)
        return self

    def reset(self: A) -> A:
        """Forget everything fed so far, its type and device with it; return this accumulator."""
        self._state = copy.deepcopy(self._nothing)
        self._dtype = self._device = None
        return self

    def to(self: A, device: torch.device | str) -> A:
        """Move what was fed to a device, where the next batches must be; return this accumulator.

        One that was never fed has no device: it takes that of its first batch.
        """
        if self._device is not None:
            moved = {name: tensor.to(device) for name, tensor in self._state.tensors().items()}
            self._state = self._state.restored(moved)
            # As batches tell it: with the device's index.
            self._device = next(iter(moved.values())).device
        return self

    @property
    def device(self) -> torch.device:
        """Where the points lie; the CPU before the first batch."""
        return self._device or torch.device("cpu")

    def as_torchmetric(self, *, higher_is_better: bool | None = False) -> "TorchMetric":
        """Return this accumulator as a `torchmetrics.Metric`, for Lightning's `self.log` or a MetricCollection.

        Its `update` takes this accumulator's arguments; calling it takes a batch in and returns the measure of that
        batch alone; a measure of several numbers returns a dict, for `self.log_dict`. The metric's `reset`, `to` and
        `state_dict` are those of this accumulator, which it goes on to feed. Ranks are merged here, exactly, and not
        by torchmetrics: every rank must call `compute`.

        Args:
            higher_is_better: What the metric says of itself; None for a measure without a better side.

        Raises:
            ModuleNotFoundError: torchmetrics is not installed.
        """
        try:
            from metrics.streaming.torchmetric import TorchMetric
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "as_torchmetric needs torchmetrics; install it with: pip install torchmetrics"
            ) from error
        return TorchMetric(self, higher_is_better=higher_is_better)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as named tensors, which safetensors writes and reads back bit for bit."""
        header = {"settings": self._identity(), "dtype": None if self._dtype is None else str(self._dtype)}
        text = torch.frombuffer(bytearray(json.dumps(header).encode()), dtype=torch.uint8)
        state = {"header": text, **self._state.tensors()}
        # What was never fed lies on the CPU; safetensors takes no strides.
        return {name: tensor.to(self.device).contiguous() for name, tensor in state.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state that `state_dict` gave, in place of what was fed so far.

        The points stay on the device of the state's tensors: move those first to go on elsewhere.

        Raises:
            TypeError: A state that does not hold tensors.
            ValueError: The state of another measure, of other settings, incomplete or on several devices.
        """
        header = _header(state)
        self._check_identity(header["settings"], "state")
        expected, tensors = self._state.tensors(), {k: v for k, v in state.items() if k != "header"}
        if set(tensors) != set(expected):
            raise ValueError(f"state must hold {sorted(expected)}, got {sorted(tensors)}; pass a state_dict")
        devices = {tensor.device for tensor in state.values()}
        if len(devices) > 1:
            raise ValueError(
                f"state must be on one device, got {sorted(map(str, devices))}; move it with .to()"
            )
        self._state = self._state.restored(tensors)
        self._dtype = None if header["dtype"] is None else TYPES[str(header["dtype"])]
        self._device = None if self._dtype is None else devices.pop()

    def _absorb(self, state: S, dtype: torch.dtype | None, device: torch.device | None) -> None:
        """Take in the state of a batch or of another accumulator, `None` if that was never fed."""
        if dtype is None or device is None:
            return
        if self._dtype not in (None, dtype):
            raise TypeError(
                f"batches must have the dtype of the first, {self._dtype}, got {dtype}; convert them"
            )
        if self._device not in (None, device):
            raise ValueError(
                f"batches must be on the device of the first, {self._device}, got {device}; move them"
            )
        self._state.absorb(state)
        self._dtype, self._device = dtype, device

    def _identity(self) -> dict[str, object]:
        return {"measure": type(self).__name__, **self._settings()}

    def _check_identity(self, other: object, name: str) -> None:
        if other != self._identity():
            raise ValueError(
                f"{name} must have the settings {self._identity()}, got {other}; make them alike"
            )

    def _over_ranks(self: A) -> A:
        whole = None
        for state in gather_states(self.state_dict(), self._device):
            part = copy.copy(self)
            part.load_state_dict(state)
            whole = part if whole is None else whole.merge(part)
        assert whole is not None
        return whole

    def _as_fed(self, value: Tensor) -> Tensor:
        """Return a value in the type that was fed."""
        return value if self._dtype is None else value.to(self._dtype)


def _header(state: object) -> dict[str, object]:
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise TypeError(f"state must be a dict of tensors, got {type(state).__name__}; pass a state_dict")
    try:
        header = json.loads(bytes(state["header"].tolist()))
        if header["dtype"] is not None and header["dtype"] not in TYPES:
            raise ValueError(header["dtype"])
        return {"settings": header["settings"], "dtype": header["dtype"]}
    except (KeyError, TypeError, ValueError):
        raise ValueError("state must have the header of a state_dict, got none that can be read") from None
