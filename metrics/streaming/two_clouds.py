"""What is fed to a measure of two samples: batches of the real cloud, of the fake one, or of both.

The two clouds grow independently, one may come whole before the other begins, and all their points live in one space.
"""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_cloud, check_pair
from metrics.precision import full_precision
from metrics.streaming.accumulator import Accumulator
from metrics.streaming.clouds import Cloud
from metrics.streaming.moments import Moments

__all__ = ["TwoClouds", "TwoSampleAccumulator"]


C = TypeVar("C", Cloud, Moments)
"""The state of one of the two clouds."""

R = TypeVar("R")


class TwoClouds(Generic[C]):
    """The states of the real cloud and of the fake one."""

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self.real, self.fake = make(), make()

    def of(self, real: object, fake: object) -> tuple["TwoClouds[C]", Tensor]:
        """Return the state of one batch, checked, and a tensor with its type and device."""
        if real is None and fake is None:
            raise ValueError("real or fake must be given, got neither; call update(real=..., fake=...)")
        if real is not None and fake is not None:
            check_pair(real, fake, ("real", "fake"))
        batch, like = TwoClouds(self._make), None
        for side, cloud, name in ((batch.real, real, "real"), (batch.fake, fake, "fake")):
            if cloud is not None:
                like = check_cloud(cloud, name).detach()
                side.add(like)
        assert like is not None
        return batch, like

    def tensors(self) -> dict[str, Tensor]:
        """Return both states, as `real.…` and `fake.…`."""
        sides = {"real": self.real.tensors(), "fake": self.fake.tensors()}
        return {f"{side}.{name}": value for side, part in sides.items() for name, value in part.items()}

    def restored(self, tensors: Mapping[str, Tensor]) -> "TwoClouds[C]":
        """Return the states that had these tensors."""
        both = TwoClouds(self._make)
        for side, name in ((both.real, "real."), (both.fake, "fake.")):
            side.restore({k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)})
        return both

    def absorb(self, other: "TwoClouds[C]") -> None:
        """Take the other's real points to the real ones and its fake points to the fake ones."""
        states = (self.real, self.fake, other.real, other.fake)
        d = {state.columns for state in states if state.columns is not None}
        if len(d) > 1:
            raise ValueError(
                f"real and fake must have the same number of columns in all batches, got {sorted(d)}; "
                "compare points of one space"
            )
        self.real.absorb(other.real)
        self.fake.absorb(other.fake)


class TwoSampleAccumulator(Accumulator[TwoClouds[C], R]):
    """A measure of two samples, fed by `update(real=..., fake=...)`."""

    @full_precision
    def update(
        self, *, real: Float[Tensor, "n d"] | None = None, fake: Float[Tensor, "m d"] | None = None
    ) -> None:
        """Take in a batch of either cloud or of both.

        Args:
            real: Samples of the truth, [n, d], n ≥ 1.
            fake: Samples to judge, [m, d], m ≥ 1.

        Raises:
            TypeError, ValueError: Clouds that cannot be compared with each other or with what came before.
        """
        batch, like = self._state.of(real, fake)
        self._absorb(batch, like.dtype, like.device)
