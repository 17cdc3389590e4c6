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

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bayessgd._evaluating import Attributes
from bayessgd._functional import copied, lending, unfused
from bayessgd._inputs import Inputs, Output, Targets, arguments, mapped, parted, picked, rows, tensors
from bayessgd._over import Told, over, telling
from bayessgd._unfit import telling_unfit
from bayessgd.params import check_shaped, clean_name, named_buffers, unwrap
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
        part: (r, R): of the `num_chains` the r-th of R equal parts, with the starts that they have in the whole, for
            one of R processes (`bayessgd.gather_ensemble`). `num_chains` below is then how many there are here. Every
            process draws its own noise and dropout: seed them apart, or chains of different processes move alike.

    Raises:
        TypeError: Not an `nn.Module`, or a seed that is no int.
        ValueError: No trainable parameters, a module with parameters but without `reset_parameters`, or chains that
            do not divide into equal parts.

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
        self,
        model: nn.Module,
        num_chains: int,
        *,
        seed: int = 0,
        jitter: int | float | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        model = unwrap(model)  # names are the bare network's, and a copy of what wraps it is none
        check_shaped(model)
        num_chains = check_count(num_chains, "num_chains")
        which = _part(num_chains, part)
        seed = check_count(seed, "seed", least=0)
        if not any(p.requires_grad for p in model.parameters()):
            raise ValueError("model must have parameters that require gradients, got none")
        super().__init__()
        self.num_chains, self._told = which.stop - which.start, Told()
        self._stacked = [name for name, p in model.named_parameters() if p.requires_grad]
        if jitter is None:
            starts = reset_starts(model, num_chains, seed=seed, which=which)
        else:
            starts = jittered_starts(model, num_chains, seed=seed, scale=jitter, which=which)
        # The copy holds the stacked tensors in the places of its own, so that torch moves, saves and loads them.
        self.network = copied(model)
        names = {*self._stacked, *(name for name, _ in model.named_buffers())}
        _replace(self.network, {name: torch.stack([start[name] for start in starts]) for name in names})

    def __len__(self) -> int:
        return self.num_chains

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the stacked parameters `[chains, ...]` under the bare model's names, as a collector wants them.

        They are leaf tensors for any elementwise optimizer; frozen parameters are not among them.
        """
        lead = prefix + "." * bool(prefix)
        yield from ((lead + clean_name(name), self.network.get_parameter(name)) for name in self._stacked)

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the stacked buffers `[chains, ...]` under the bare model's names."""
        buffers = self.network.named_buffers(prefix, recurse, remove_duplicate)
        yield from ((clean_name(name), buffer) for name, buffer in buffers)

    def forward(self, x: Inputs, *, shared: bool = False, output: Output | None = None) -> Tensor:
        """Return the networks' outputs `[chains, batch, ...]`.

        Args:
            x: `[chains, batch, ...]`, or `[batch, ...]` with `shared=True`; a tuple or a dict of several inputs.
            shared: All chains see the same inputs.
            output: Picks the tensor from what the network returns, such as `lambda o: o.logits`.
        """
        return self._run(
            lambda _, inputs, __: self._call(inputs, lambda o: picked(o, output)), x, None, shared=shared
        )

    def loss(
        self, fn: Callable[..., Tensor], x: Inputs, y: Targets, *, shared: bool = False
    ) -> Float[Tensor, " chains"]:
        """Return each chain's loss; the backward pass of the sum gives each chain its own gradient.

        For samplers fn is the *mean* negative log joint per datum up to the prior; with a prior see `map`.

        Args:
            fn: `fn(output, y)` → 0-dim, such as `torch.nn.functional.mse_loss`; it gets whatever the network returns.
            x: `[chains, batch, ...]`, or `[batch, ...]` with `shared=True`; a tuple or a dict of several inputs.
            y: The targets, `[chains, batch, ...]` or `[batch, ...]` likewise.
            shared: All chains see the same batch. Independent chains want batches of their own: draw chains·S
                data iid and `unflatten(0, (chains, -1))`.

        Raises:
            ValueError: Leading dimensions other than the number of chains, or an fn that does not reduce.

        Warns:
            UserWarning: Once, that the chains run one by one, for the network cannot run under `vmap`.
        """
        return self._check_losses(
            self._run(
                lambda _, inputs, targets: self._call(inputs, lambda o: fn(o, targets)), x, y, shared=shared
            )
        )

    def map(
        self, fn: Callable[..., Tensor], x: Inputs, y: Targets, *, shared: bool = False
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
            fn: Such as `mean_negative_log_joint` with its keywords filled in; it gets one chain's params, and the
                network with that chain's buffers.
            x: `[chains, batch, ...]`, or `[batch, ...]` with `shared=True`.
            y: The targets likewise.
            shared: All chains see the same batch.

        Raises:
            ValueError: As `loss`.
        """

        def of(own: Mapping[str, Tensor], inputs: Inputs, targets: Targets | None) -> Tensor:
            params = {name: own[name] for name in self._stacked}
            return fn(self.network, params, inputs, targets)

        return self._check_losses(self._run(of, x, y, shared=shared))

    def _call(self, inputs: Inputs, then: Callable[[Any], Tensor]) -> Tensor:
        args, keywords = arguments(inputs)
        return then(self.network(*args, **keywords))

    def _run(
        self,
        of: Callable[[Mapping[str, Tensor], Any, Any], Tensor],
        x: Inputs,
        y: Targets | None,
        *,
        shared: bool,
    ) -> Tensor:
        """Return `of` a chain's tensors, inputs and targets, of all chains, each lent to the network."""
        self._check_batch(x, "x", shared=shared)
        inputs, whole_inputs = parted(x)
        targets, whole_targets = ({}, lambda _: None) if y is None else parted(y)
        if y is not None:
            self._check_batch(y, "y", shared=shared)
        buffers = dict(self.network.named_buffers())

        def one(own: dict[str, Tensor], inputs: Any, targets: Any) -> tuple[Tensor, dict[str, Tensor]]:
            with lending(self.network, own) as left:
                # A copy each: a forward pass that writes into its input must not change it for the next chain.
                found = of(own, whole_inputs(mapped(inputs, Tensor.clone)), whole_targets(targets))
            # What the pass wrote into is written; what it bound anew comes back.
            return found, {n: left[n].detach() for n in buffers if left[n] is not own[n]}

        lead = None if shared else 0
        attributes = Attributes(self.network)
        try:
            first = x if shared else rows(x, 0)
            with telling_unfit(self.network, *arguments(first), self._first), telling(self._told), unfused():
                found, rebound = over(
                    one,
                    (self._tensors(), inputs, targets),
                    (0, lead, lead),
                    what="chains",
                    randomness="different",
                    before=attributes.restore,
                )
        finally:
            attributes.restore()
        with torch.no_grad():
            for name, value in rebound.items():
                buffers[name].copy_(value)
        return found

    def _first(self) -> dict[str, Tensor]:
        """Return copies of the first chain's tensors: the network itself holds all of them stacked."""
        return {name: t.detach()[0].clone() for name, t in self._tensors().items()}

    def chain(self, index: int) -> nn.Module:
        """Return a copy of the model with the parameters and buffers of one chain."""
        index = check_count(index, "index", least=0)
        if index >= self.num_chains:
            raise ValueError(f"index must be below the number of chains, {self.num_chains}, got {index}")
        model = copied(self.network)
        _replace(model, {name: t.detach()[index].clone() for name, t in self._tensors().items()})
        return model

    def posterior(self) -> Ensemble:
        """Return the chains' present states, parameters and buffers, as an equally weighted ensemble of copies."""
        draws = {name: p.detach().clone() for name, p in self.named_parameters()}
        buffers = {name: b.detach().clone() for name, b in named_buffers(self.network).items()}
        return Ensemble(draws, buffers=buffers)

    def _tensors(self) -> dict[str, Tensor]:
        """Return what is stacked under the network's own names, with those of compiled parts."""
        parameters = {name: self.network.get_parameter(name) for name in self._stacked}
        return {**parameters, **dict(self.network.named_buffers())}

    def _check_batch(self, x: object, name: str, *, shared: bool) -> None:
        found = tensors(x) if isinstance(x, Tensor | tuple | Mapping) else {}
        if not found:
            raise TypeError(
                f"{name} must be a torch.Tensor, got {type(x).__name__}; use torch.as_tensor, or a tuple or a dict of "
                "tensors"
            )
        for part in () if shared else found.values():
            if part.ndim == 0 or len(part) != self.num_chains:
                raise ValueError(
                    f"{name} must have shape [chains, batch, ...] with {self.num_chains} chains, got "
                    f"{list(part.shape)}; give each its own batch with unflatten(0, (chains, -1)) or pass shared=True"
                )

    def _check_losses(self, losses: Tensor) -> Tensor:
        if losses.shape != (self.num_chains,):
            raise ValueError(
                f"fn must return a 0-dim tensor per chain, got {list(losses.shape[1:])}; take the mean"
            )
        return losses


def _part(num_chains: int, part: object) -> slice:
    """The chains of one of several processes."""
    if not isinstance(part, tuple) or len(part) != 2:
        raise TypeError(f"part must be a pair (rank, ranks), got {part!r}; such as (0, 2)")
    ranks = check_count(part[1], "part[1]")
    rank = check_count(part[0], "part[0]", least=0)
    if rank >= ranks:
        raise ValueError(f"part must have a rank below its ranks, got {rank} of {ranks}; they count from 0")
    if num_chains % ranks:
        raise ValueError(
            f"num_chains must be a multiple of the {ranks} parts, got {num_chains}; take "
            f"{num_chains + -num_chains % ranks}"
        )
    size = num_chains // ranks
    return slice(rank * size, (rank + 1) * size)


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
