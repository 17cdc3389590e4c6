"""What every collector does: listen to an optimizer, or be told, and go on after a stop.

A collector looks at a network's parameters after an optimizer's step and keeps something of them. It holds
references to the parameters, as the optimizer does, and never a copy of the network; it writes to no
parameter and draws no random number, so the training goes the same way, to the bit, with it and without it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bayessgd.collectors._listening import is_live, of_torch, told_of_others, told_of_resting
from bayessgd.collectors._places import Places
from bayessgd.collectors._states import Entries, matched
from bayessgd.params import gather, local, named_parameters, unwrap
from bayessgd.posteriors import Posterior
from bayessgd.selection import Selection, select
from metrics.inputs import check_count

__all__ = ["Collector"]


class Collector(ABC):
    """Keeps something of the trainable parameters θ after an optimizer's steps."""

    def __init__(self, model: nn.Module, parameters: Selection | None = None) -> None:
        named = select(model, parameters)
        self._names = list(named)
        self._parameters: list[Tensor] = list(named.values())
        chosen = parameters is not None
        self._left_out = [p for name, p in named_parameters(model).items() if chosen and name not in named]
        self._entries = Entries(model)
        self._places = Places(unwrap(model), self._parameters, self._names)
        self._whole_here = all(local(parameter) is parameter for parameter in self._parameters)
        self._handle: RemovableHandle | None = None
        self._steps = 0
        self._updates = 0

    @property
    def num_updates(self) -> int:
        """How many iterates have been collected."""
        return self._updates

    @property
    def is_whole(self) -> bool:
        """Whether this process sees whole parameters; under `fully_shard` it sees a part of each."""
        return self._whole_here

    def update(self, state: Mapping[str, Tensor] | None = None) -> None:
        """Collect the parameters as they are now, or those of a state dict.

        Args:
            state: From name to tensor, such as a checkpoint's `model.state_dict()`; the network is not touched. Names
                are the bare network's: what `torch.compile` and DDP put before them is taken off, and what the
                network holds beside the collector's parameters (buffers, frozen weights) is let pass. `None` is the
                network itself.

        Raises:
            TypeError: Not a mapping from names to floating tensors.
            ValueError: Names missing or unknown, other shapes, NaN; or a state under `fully_shard`; or a network whose
                parameters were replaced since.

        >>> import torch
        >>> from bayessgd import IterateAverage
        >>> average = IterateAverage(torch.nn.Linear(1, 1, bias=False))
        >>> for value in (1.0, 3.0):
        ...     average.update({"weight": torch.full((1, 1), value)})
        >>> average.posterior().mean
        {'weight': tensor([[2.]])}
        """
        if state is None:
            self._refuse_replaced()
        elif not self._whole_here:
            raise ValueError(
                "state must be None under fully_shard, where each process holds a part; make the collector from the "
                "unsharded network"
            )
        # Inside inference mode too: what is kept is written to outside.
        with torch.inference_mode(False), torch.no_grad():
            own = None if state is None else matched(state, self._entries, self._names, self._parameters)
            self._collect(self._locals() if own is None else own)
        self._updates += 1

    def _refuse_replaced(self) -> None:
        """Refuse to collect tensors that are no longer the network's: they would stand still."""
        if not self._whole_here:
            return  # sharded: the network holds its own tensors for a while
        name = self._places.replaced()
        if name is not None:
            raise ValueError(
                f"model must have the parameters that the collector was made of, but {name} was replaced since, by "
                "load_state_dict(assign=True), a new layer, a parametrization or sharding; make the collector "
                "after it"
            )

    def attach(
        self,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
        *,
        every: int = 1,
        start: int = 0,
    ) -> RemovableHandle:
        """Collect after every k-th step of an optimizer, beginning after the first `start` of them.

        It is a step post-hook, so it works wherever the optimizer does: in a plain loop, under a trainer,
        with `torch.compile`. A step that `torch.amp.GradScaler` skipped is no iterate. The count of steps
        belongs to the collector and is part of its `state_dict`.

        Args:
            optimizer: The one that trains the model's parameters, also as Accelerate or Lightning wrap it; of several
                a list, the last to step at its end, whose steps are counted.
            every: k. SWAG takes one snapshot per epoch; iterate averaging takes every step.
            start: The steps to leave out while the iterates still travel (burn-in, tail averaging).

        Returns:
            A handle: `handle.remove()` stops the collecting, and so does leaving `with collector.attach(…):`.

        Raises:
            TypeError: Not a torch optimizer.
            ValueError: An optimizer of other parameters; or the collector is attached already.

        Warns:
            UserWarning: The optimizer trains weights that the collector lacks, such as those unfrozen after it was
                made, now or later; or parameters of the collector are in none of the optimizers.
        """
        optimizers = of_torch(optimizer)
        every = check_count(every, "every")
        start = check_count(start, "start", least=0)
        if is_live(self._handle):
            raise ValueError(
                "collector must be attached once, or it counts every step twice; call handle.remove() on what the "
                "first attach returned, or use `with collector.attach(optimizer):`"
            )
        told_of_resting(optimizers, self._names, self._parameters)
        told = told_of_others(optimizers, self._parameters, self._left_out)
        due = False

        def after_step(stepped: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            nonlocal due, told
            self._steps += 1
            due = due or (self._steps > start and (self._steps - start) % every == 0)
            if due and not _was_skipped(stepped):
                due = False
                told = told or told_of_others(optimizers, self._parameters, self._left_out)
                self.update()

        self._handle = optimizers[-1].register_step_post_hook(after_step)
        return self._handle

    @abstractmethod
    def _collect(self, parameters: list[Tensor]) -> None:
        """Take in the parameters that this process holds, before the count of updates goes up."""

    @abstractmethod
    def posterior(self) -> Posterior:
        """Return the posterior of what was collected so far; the collecting may go on.

        Under FSDP every process must call it.
        """

    @abstractmethod
    def _settings(self) -> dict[str, object]:
        """Return what two collectors must share for one to go on where the other stopped."""

    @abstractmethod
    def _tensors(self) -> dict[str, Tensor]:
        """Return the live tensors of the state, by name."""

    @abstractmethod
    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take copies of the tensors of a state, after the counts were set."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave the optimizer out of copies and pickles: a copy is attached to none."""
        return self.__dict__ | {"_handle": None}

    def state_dict(self) -> dict[str, Any]:
        """Return the state, of tensors and plain numbers: `torch.load(..., weights_only=True)` reads it back.

        As with torch's own, the tensors are the live ones: write them out, or copy them, before going on.
        Under FSDP they are this process's shards.
        """
        return {
            "kind": type(self).__name__,
            "shapes": self._shapes(),
            "settings": self._settings(),
            "num_updates": self._updates,
            "steps": self._steps,
            "tensors": self._tensors(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the collector of this state stopped, to the same result.

        Raises:
            ValueError: The state of another kind of collector, of another network, or of other settings.
        """
        own = {"kind": type(self).__name__, "shapes": self._shapes(), "settings": self._settings()}
        for key, value in own.items():
            if state.get(key) != value:
                raise ValueError(
                    f"state must have the {key} {value}, got {state.get(key)}; make the collector as it was"
                )
        tensors = state.get("tensors")
        if not isinstance(tensors, Mapping):
            raise ValueError(f"state must have tensors, got {type(tensors).__name__}; pass a state_dict")
        counts = [check_count(state.get(key), key, least=0) for key in ("num_updates", "steps")]
        before = self._updates, self._steps
        self._updates, self._steps = counts
        try:
            self._restore(tensors)
        except ValueError:
            self._updates, self._steps = before
            raise

    def _shapes(self) -> dict[str, list[int]]:
        return {name: list(p.shape) for name, p in zip(self._names, self._locals(), strict=True)}

    def _locals(self) -> list[Tensor]:
        return self._parameters if self._whole_here else [local(p) for p in self._parameters]

    def _whole(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return copies by name of tensors that are sharded as the parameters are: whole, in their type."""
        return {
            name: gather(tensor, parameter).to(accumulator_type(parameter), copy=True)
            for name, tensor, parameter in zip(self._names, tensors, self._parameters, strict=True)
        }

    def _whole_rows(self, rows: Sequence[Sequence[Tensor]]) -> dict[str, Tensor]:
        """Return n such lists of tensors as [n, *shape] by name, in the type and on the device they have."""
        return {
            name: torch.stack([gather(row[i], self._parameters[i]) for row in rows])
            for i, name in enumerate(self._names)
        }

    def _need(self, least: int, what: str) -> None:
        if self._updates < least:
            raise ValueError(
                f"{what} needs at least {least} updates, got {self._updates}; train on with "
                "attach(optimizer), call update() after a step, or pass more checkpoints"
            )


def accumulator_type(parameter: Tensor) -> torch.dtype:
    """Return the type to accumulate in: the parameter's own, but never less than float32."""
    return torch.promote_types(parameter.dtype, torch.float32)


def _was_skipped(optimizer: torch.optim.Optimizer) -> bool:
    # GradScaler does not call an ordinary optimizer's step when it skips it, but it does call a fused one's,
    # which looks at `found_inf` on the device. Asked only when an update is due: the answer waits for it.
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)
