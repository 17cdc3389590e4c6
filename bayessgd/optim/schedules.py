"""The cyclical step length of Zhang, Li, Zhang, Chen & Wilson (2020).

In steps k = 0, 1, … and cycles of length R = ⌈K/M⌉ for K steps and M cycles (their eq. 1, counted from 0)

    lrₖ = (lr₀/2)·(1 + cos(π·(k mod R)/R)).

Each cycle starts with long steps that leave the mode (exploration: no noise, the temperature is 0) and ends
with short ones that explore it (sampling: the temperature that was set, iterates collected), from the
fraction β of the cycle on.
"""

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from metrics.inputs import check_count, check_number

__all__ = ["CyclicalSchedule"]


class CyclicalSchedule(LRScheduler):
    """Cyclical learning rate ½·lr₀·(1 + cos(π·(k mod R)/R)), noise and collection at the end of each cycle.

    While `sampling` is false the temperature of every parameter group that has one is 0 (SGD, SGHMC without
    noise); a group without one (`torch.optim.SGD`, SGFS) only gets the learning rate. Call `step()` after the
    optimizer's.

    Args:
        optimizer: Any torch optimizer; its lr is lr₀.
        num_steps: K, the steps of the whole run. The cycles go on beyond it.
        num_cycles: M.
        exploration: β in [0, 1), the share of each cycle before sampling; 0.9 is the last 5 of 50 epochs.
        last_epoch: As in torch: −1 starts anew.

    Raises:
        ValueError: A count below 1, fewer steps than cycles, or exploration outside [0, 1).

    Reference: Zhang, Li, Zhang, Chen & Wilson, ICLR 2020, eq. 1 and algorithm 1.

    >>> import torch
    >>> sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> schedule = CyclicalSchedule(sgd, num_steps=8, num_cycles=2, exploration=0.5)
    >>> for k in range(5):
    ...     print(k, round(sgd.param_groups[0]["lr"], 3), schedule.sampling)
    ...     sgd.step()
    ...     schedule.step()
    0 0.5 False
    1 0.427 False
    2 0.25 True
    3 0.073 True
    4 0.5 False
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        num_steps: int,
        num_cycles: int,
        exploration: int | float = 0.9,
        last_epoch: int = -1,
    ) -> None:
        num_cycles = check_count(num_cycles, "num_cycles")
        num_steps = check_count(num_steps, "num_steps", least=num_cycles)
        if not 0 <= check_number(exploration, "exploration") < 1:
            raise ValueError(
                f"exploration must be in [0, 1), got {exploration}; the rest of the cycle samples"
            )
        self.cycle_length = math.ceil(num_steps / num_cycles)
        self.exploration = exploration
        if isinstance(optimizer, Optimizer):  # torch refuses anything else below
            for group in optimizer.param_groups:
                if (
                    "temperature" in group
                ):  # kept in the group, as torch keeps initial_lr, so that it is saved
                    group.setdefault("initial_temperature", group["temperature"])
        super().__init__(optimizer, last_epoch)

    @property
    def position(self) -> float:
        """The place of the coming step in its cycle, (k mod R)/R in [0, 1)."""
        return self.last_epoch % self.cycle_length / self.cycle_length

    @property
    def sampling(self) -> bool:
        """Whether the coming step injects noise and its result is worth collecting: position ≥ β."""
        return self.position >= self.exploration

    def get_lr(self) -> list[Any]:
        """Return the learning rate of each parameter group for the coming step."""
        factor = 0.5 * (1 + math.cos(math.pi * self.position))
        return [lr * factor for lr in self.base_lrs]

    def step(self, epoch: int | None = None) -> None:
        """Advance by one optimizer step."""
        super().step(epoch)
        for group in self.optimizer.param_groups:
            if "initial_temperature" in group:
                group["temperature"] = group["initial_temperature"] if self.sampling else 0.0
