"""Means of iterates: of all, of a tail, of an exponential past, or of windows one after another.

    Polyak–Ruppert    θ̄ₙ = (1/n) Σᵢ θᵢ                              (Polyak & Juditsky 1992)
    tail              the same from the s-th step on: attach(optimizer, start=s)
    exponential       θ̄ₙ = (1−β) Σᵢ βⁿ⁻ⁱ θᵢ / (1−βⁿ)                the weights sum to 1 from the first on
    windows           θ̄⁽ʲ⁾ = (1/T) Σ over the j-th run of T iterates   (iterate averaging, IASG)

The first three are one point, an estimate of the optimum: their posterior is an `Ensemble` of a single draw
(SWA). The last is a sampler (Mandt, Hoffman & Blei 2017, section 6): near a quadratic optimum with Hessian A
and gradient noise C/S of iid batches of size S, the mean of T iterates has the covariance A⁻¹CA⁻¹/(S·T)
whatever the learning rate ε, so T = N/S, one pass over N data, gives (1/N) A⁻¹CA⁻¹: the posterior's
covariance where C ≈ A, the sandwich otherwise. It asks for ε·λmax(A) ≲ 1 and ε·T·λmin(A) ≫ 1, and for
batches drawn with replacement (`bayessgd.iid_loader`).

An update costs what one addition of the parameters' size does; long means are in float64 (`_running`).
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bayessgd.collectors._collector import Collector
from bayessgd.collectors._running import RunningMean
from bayessgd.collectors._states import taken
from bayessgd.posteriors import Ensemble
from bayessgd.selection import Selection
from metrics.inputs import check_count, check_positive

__all__ = ["IterateAverage"]


class IterateAverage(Collector):
    """Collects the mean of the iterates, or the means of windows of them.

    Args:
        model: The network that is trained; it may be compiled, in DDP, or sharded by `fully_shard`.
        window: T; with it every run of T updates becomes one draw, N/S for IASG. `None` keeps one mean.
        decay: β in (0, 1); with it the mean is exponential.
        storage_device: Where finished windows are kept, such as "cpu"; `None` is where the parameters are.
        parameters: The part to collect: a module, a name pattern or a predicate (`bayessgd.selection`), such as
            `net.head`, `"*.lora_*"`; the rest stays where the network has it when it predicts. `None` is everything
            that trains.

    Raises:
        TypeError: Not a module, or not numbers.
        ValueError: Both a window and a decay, or values out of range.

    References: Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging"; Mandt,
    Hoffman & Blei 2017, "Stochastic gradient descent as approximate Bayesian inference", section 6.

    >>> import torch
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> average = IterateAverage(net, window=2)
    >>> for value in (1.0, 3.0, 5.0, 7.0, 9.0):
    ...     _ = net.weight.data.fill_(value)
    ...     average.update()
    >>> average.posterior().draws["weight"].flatten()
    tensor([2., 6.])
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        window: int | None = None,
        decay: float | None = None,
        storage_device: torch.device | str | None = None,
        parameters: Selection | None = None,
    ) -> None:
        super().__init__(model, parameters)
        if window is not None and decay is not None:
            raise ValueError(
                "window and decay must not both be given, for they are two different means; drop one"
            )
        self.window = None if window is None else check_count(window, "window")
        if decay is not None and check_positive(decay, "decay") >= 1:
            raise ValueError(f"decay must be between 0 and 1, got {decay}; such as 0.999")
        self.decay, self._storage_device = decay, storage_device
        self._running: RunningMean | None = None
        self._exponential: list[Tensor] = []
        self._windows: list[list[Tensor]] = []

    def _collect(self, parameters: list[Tensor]) -> None:
        if self.decay is not None:
            self._collect_exponential(parameters, self.decay)
            return
        if self._running is None:
            self._running = RunningMean(parameters)
        self._running.add(parameters)
        if self._running.count == self.window:
            means = zip(self._running.mean(), self._running.block, strict=True)
            self._windows.append(
                [m.to(block.dtype).to(self._storage_device or m.device) for m, block in means]
            )
            self._running.clear()

    def _collect_exponential(self, parameters: list[Tensor], decay: float) -> None:
        if not self._exponential:
            self._exponential = [torch.zeros_like(p, dtype=torch.float64) for p in parameters]
        # 1 − βⁿ by expm1: at β = 1 − 1e-9 the plain difference has few digits.
        weight = (1 - decay) / -math.expm1((self._updates + 1) * math.log(decay))
        for mean, parameter in zip(self._exponential, parameters, strict=True):
            mean.lerp_(parameter.double(), weight)

    def posterior(self) -> Ensemble:
        """Return the mean as an ensemble of one draw, or every finished window's mean as one draw each.

        Raises:
            ValueError: No update yet, or no finished window.
        """
        self._need(self.window or 1, "IterateAverage's posterior")
        if self.window is not None:
            return Ensemble(self._whole_rows(self._windows))
        mean = self._exponential or (self._running.mean() if self._running else [])
        return Ensemble({name: tensor[None] for name, tensor in self._whole(mean).items()})

    def _settings(self) -> dict[str, object]:
        return {"window": self.window, "decay": self.decay}

    def _tensors(self) -> dict[str, Tensor]:
        parts: dict[str, Sequence[Tensor]] = {"exponential": self._exponential}
        if self._running is not None:
            parts |= {"block": self._running.block, "total": self._running.total}
        if self._windows:
            parts["windows"] = [torch.stack(column) for column in zip(*self._windows, strict=True)]
        return {
            f"{part}/{name}": tensor
            for part, tensors in parts.items()
            for name, tensor in zip(self._names, tensors, strict=False)
        }

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        self._running, self._exponential, self._windows = None, [], []
        parameters = self._locals()
        if not self._updates:
            return
        if self.decay is not None:
            self._exponential = [torch.zeros_like(p, dtype=torch.float64) for p in parameters]
        else:
            self._running = RunningMean(parameters)
            self._running.count = self._updates % self.window if self.window else self._updates
        for key, tensor in self._tensors().items():
            tensor.copy_(taken(tensors, key, tensor))
        finished = self._updates // self.window if self.window else 0
        named = list(zip(self._names, parameters, strict=True)) if finished else []
        columns = [(taken(tensors, f"windows/{name}", p, finished), p) for name, p in named]
        self._windows = [
            [column[j].to(self._storage_device or p.device, copy=True) for column, p in columns]
            for j in range(finished)
        ]
