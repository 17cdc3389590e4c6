"""Many chains at once: one chain with a leading dimension.

Every parameter θ of shape `[...]` becomes one leaf tensor `[chains, ...]`; the forward pass is
`torch.func.vmap` over that dimension. The losses of different chains share no parameter, so the gradient of
their sum

    ∂(Σⱼ Lⱼ)/∂θᵢ = ∂Lᵢ/∂θᵢ

is each chain's own gradient, and every optimizer that works elementwise (SGD, Adam, SGLD, SGHMC, …) runs all
chains independently in one step. Optimizers that look at a whole tensor do not: LBFGS, Muon, LARS, and
clipping by the total norm couple the chains. `bayessgd.optim.PreconditionedSGD` and `SGFS` take
`stacked=True`.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bayessgd.params import unwrap
from bayessgd.posteriors import Ensemble
from bayessgd.starts import jittered_starts, reset_starts
from metrics.inputs import check_count

__all__ = ["Chains"]


class Chains(nn.Module):
    """`num_chains` independent copies of a network as stacked parameters `[chains, ...]`.

    An `nn.Module`: `to`, `train`, `state_dict` and collectors work as on any network. The model is copied and
    never changed. Parameters that do not require gradients stay shared; buffers,
    such as the running statistics of BatchNorm, are stacked and kept per chain. Dropout draws different masks
    for different chains, from torch's default generator.

    Args:
        model: The network; its `reset_parameters` methods make the starts.
        num_chains: How many.
        seed: Chain i starts from `reset_parameters` under a seed of its own, which depends on `seed` and i.
        jitter: Instead of new initialisations: copies of the model's own parameters plus Gaussian noise of
            this standard deviation; 0 gives equal copies.

    Raises:
        TypeError: Not an `nn.Module`, or a seed that is no int.
        ValueError: No trainable parameters, or a module with parameters but without `reset_parameters`.

    >>> chains = Chains(torch.nn.Linear(2, 1), 3, seed=0)
    >>> optimizer = torch.optim.SGD(chains.parameters(), lr=0.1)
    >>> x, y = torch.randn(3, 8, 2), torch.randn(3, 8, 1)  # a batch of 8 for each of 3 chains
    >>> losses = chains.loss(torch.nn.functional.mse_loss, x, y)
    >>> losses.shape
    torch.Size([3])
    >>> losses.sum().backward()
    >>> optimizer.step()
    >>> {name: list(p.shape) for name, p in chains.named_parameters()}
    {'weight': [3, 1, 2], 'bias': [3, 1]}
    """

    def __init__(
        self, model: nn.Module, num_chains: int, *, seed: int = 0, jitter: int | float | None = None
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        model = unwrap(model)  # names are the bare network's, and a copy of what wraps it is none
        num_chains = check_count(num_chains, "num_chains")
        seed = check_count(seed, "seed", least=0)
        if not any(p.requires_grad for p in model.parameters()):
            raise ValueError("model must have parameters that require gradients, got none")
        super().__init__()
        self.num_chains = num_chains
        self._stacked = [name for name, p in model.named_parameters() if p.requires_grad]
        if jitter is None:
            starts = reset_starts(model, num_chains, seed=seed)
        else:
            starts = jittered_starts(model, num_chains, seed=seed, scale=jitter)
        # The copy holds the stacked tensors in the places of its own, so that torch moves, saves and loads them.
        self.network = copy.deepcopy(model)
        names = {*self._stacked, *(name for name, _ in model.named_buffers())}
        _replace(self.network, {name: torch.stack([start[name] for start in starts]) for name in names})

    def __len__(self) -> int:
        return self.num_chains

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the stacked parameters `[chains, ...]` under the model's names, as a collector wants them.

        They are leaf tensors for any elementwise optimizer; frozen parameters are not among them.
        """
        lead = prefix + "." * bool(prefix)
        yield from ((lead + name, self.network.get_parameter(name)) for name in self._stacked)

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the stacked buffers `[chains, ...]` under the model's names."""
        yield from self.network.named_buffers(prefix, recurse, remove_duplicate)

    def forward(self, x: Tensor, *, shared: bool = False) -> Tensor:
        """Return the networks' outputs `[chains, batch, ...]`.

        Args:
            x: `[chains, batch, ...]`, or `[batch, ...]` with `shared=True`.
            shared: All chains see the same inputs.
        """
        self._check_batch(x, "x", shared=shared)

        def one(tensors: dict[str, Tensor], inputs: Tensor) -> Tensor:
            return functional_call(self.network, tensors, (inputs,))

        return vmap(one, (0, None if shared else 0), randomness="different")(self._tensors(), x)

    def loss(
        self, fn: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, *, shared: bool = False
    ) -> Float[Tensor, " chains"]:
        """Return each chain's loss; the backward pass of the sum gives each chain its own gradient.

        For samplers fn is the *mean* negative log joint per datum up to the prior; with a prior see `map`.

        Args:
            fn: `fn(output, y)` → 0-dim, such as `torch.nn.functional.mse_loss`.
            x: `[chains, batch, ...]`, or `[batch, ...]` with `shared=True`.
            y: The targets, `[chains, batch, ...]` or `[batch, ...]` likewise.
            shared: All chains see the same batch. Independent chains want batches of their own: draw chains·S
                data iid and `unflatten(0, (chains, -1))`.

        Raises:
            ValueError: Leading dimensions other than the number of chains, or an fn that does not reduce.
        """
        self._check_batch(x, "x", shared=shared)
        self._check_batch(y, "y", shared=shared)
        over = None if shared else 0

        def one(tensors: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
            return fn(functional_call(self.network, tensors, (inputs,)), targets)

        return self._check_losses(vmap(one, (0, over, over), randomness="different")(self._tensors(), x, y))

    def map(
        self, fn: Callable[..., Tensor], x: Tensor, y: Tensor, *, shared: bool = False
    ) -> Float[Tensor, " chains"]:
        """Return `fn(model, params, x, y)` for each chain, for losses with a prior such as the log joint.

        >>> from functools import partial
        >>> from bayessgd.likelihoods import Gaussian, GaussianPrior, mean_negative_log_joint
        >>> laws = {"likelihood": Gaussian(1.0), "prior": GaussianPrior(1.0), "num_data": 100}
        >>> loss = partial(mean_negative_log_joint, **laws)
        >>> chains = Chains(torch.nn.Linear(2, 1), 3)
        >>> chains.map(loss, torch.randn(3, 8, 2), torch.randn(3, 8, 1)).shape
        torch.Size([3])

        Args:
            fn: Such as `mean_negative_log_joint` with its keywords filled in; it gets one chain's params.
            x: `[chains, batch, ...]`, or `[batch, ...]` with `shared=True`.
            y: The targets likewise.
            shared: All chains see the same batch.

        Raises:
            ValueError: As `loss`; or a model with running statistics, which fn could not keep per chain.
        """
        for name, module in self.network.named_modules():
            if getattr(module, "running_mean", None) is not None:
                raise ValueError(
                    f"model must not keep running statistics under map, got {type(module).__name__} at "
                    f"{name!r}; use loss, which keeps them per chain, or GroupNorm"
                )
        self._check_batch(x, "x", shared=shared)
        self._check_batch(y, "y", shared=shared)
        over = None if shared else 0

        def one(params: Mapping[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
            return fn(self.network, params, inputs, targets)

        return self._check_losses(
            vmap(one, (0, over, over), randomness="different")(dict(self.named_parameters()), x, y)
        )

    def chain(self, index: int) -> nn.Module:
        """Return a copy of the model with the parameters and buffers of one chain."""
        index = check_count(index, "index", least=0)
        if index >= self.num_chains:
            raise ValueError(f"index must be below the number of chains, {self.num_chains}, got {index}")
        model = copy.deepcopy(self.network)
        tensors = [*self.named_parameters(), *self.named_buffers()]
        _replace(model, {name: t.detach()[index].clone() for name, t in tensors})
        return model

    def posterior(self) -> Ensemble:
        """Return the chains' present states as an equally weighted ensemble, detached and copied."""
        return Ensemble({name: p.detach().clone() for name, p in self.named_parameters()})

    def _tensors(self) -> dict[str, Tensor]:
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def _check_batch(self, x: object, name: str, *, shared: bool) -> None:
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}; use torch.as_tensor")
        if not shared and (x.ndim == 0 or len(x) != self.num_chains):
            raise ValueError(
                f"{name} must have shape [chains, batch, ...] with {self.num_chains} chains, got "
                f"{list(x.shape)}; give each its own batch with unflatten(0, (chains, -1)) or pass shared=True"
            )

    def _check_losses(self, losses: Tensor) -> Tensor:
        if losses.shape != (self.num_chains,):
            raise ValueError(
                f"fn must return a 0-dim tensor per chain, got {list(losses.shape[1:])}; take the mean"
            )
        return losses


def _replace(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Put new tensors in the places of the named ones; what was tied stays tied."""
    names = {id(t): name for name, t in [*model.named_parameters(), *model.named_buffers()]}
    new = {
        id(t): nn.Parameter(values[names[id(t)]]) if isinstance(t, nn.Parameter) else values[names[id(t)]]
        for t in [*model.parameters(), *model.buffers()]
        if names[id(t)] in values
    }
    for module in model.modules():
        for place in (cast(dict[str, Any], module._parameters), cast(dict[str, Any], module._buffers)):
            place.update({key: new[id(t)] for key, t in place.items() if id(t) in new})
