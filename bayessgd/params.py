"""Names and vectors: the trainable parameters of a module, and one flat vector of them.

A posterior is a law over θ ∈ R^P. A network holds θ in named pieces, so everything here speaks of θ as
an ordered dict from name to tensor, in the order of `module.named_parameters()`, and as its
concatenation, [P]. Leading dimensions (draws, chains) stay in front of both: a dict of `[..., *shape]` is
the vector `[..., P]`.

Names are those of the bare module. What wraps it adds prefixes: `torch.compile` ("_orig_mod."), DDP and
DataParallel ("module."), activation checkpointing ("_checkpoint_wrapped_module."). They are taken off, so
that a posterior collected under `torchrun` predicts with the plain network. Under `fully_shard` (FSDP) a
parameter is a DTensor; this process's shard is what is collected, and `gather` joins the shards of all
processes. A frozen parameter (`requires_grad=False`) is no part of θ, and a tied one appears once.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

__all__ = [
    "bare_state",
    "check_shaped",
    "clean_name",
    "flat_rows",
    "flatten",
    "gather",
    "local",
    "named_buffers",
    "named_parameters",
    "unflatten",
    "unwrap",
]

WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module")


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside `torch.compile`, DDP and DataParallel.

    >>> from torch import nn
    >>> net = nn.Linear(1, 1)
    >>> unwrap(nn.DataParallel(net)) is net
    True
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    inner: Any = model
    while True:
        if isinstance(getattr(inner, "_orig_mod", None), nn.Module):
            inner = inner._orig_mod
        elif isinstance(inner, DistributedDataParallel | DataParallel):
            inner = inner.module
        else:
            return inner


def clean_name(name: str) -> str:
    """Return a parameter's name without what `torch.compile` and checkpointing put into it.

    >>> clean_name("body._orig_mod.0.weight")
    'body.0.weight'
    """
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def check_shaped(network: nn.Module) -> None:
    """Refuse a network with lazy layers that no batch has gone through, frozen ones and buffers too."""
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        _check_shaped(name, tensor)


def _check_shaped(name: str, tensor: Tensor) -> None:
    if isinstance(tensor, nn.UninitializedParameter | nn.UninitializedBuffer):
        raise ValueError(f"model must have its shapes, but {name} is lazy; run one batch through it first")


def bare_state(state: Mapping[str, Tensor], known: Collection[str]) -> dict[str, Tensor]:
    """Return a state dict under the bare module's names.

    Args:
        state: From name to tensor; what wrapped the network may have put its prefixes before the names.
        known: The network's own names, where they are known; it may have a child of the name that DDP puts in front.

    >>> state = {"module.weight": torch.zeros(1)}
    >>> list(bare_state(state, [])), list(bare_state(state, ["module.weight"]))
    (['weight'], ['module.weight'])
    """
    bare = {clean_name(name): tensor for name, tensor in state.items()}
    if bare and not set(known) & set(bare) and all(name.startswith("module.") for name in bare):
        return {name.removeprefix("module."): tensor for name, tensor in bare.items()}
    return bare


def named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable parameters, by their names in the bare module, in its order.

    The tensors are the live ones: they follow the training.

    Raises:
        TypeError: `model` is not a module.
        ValueError: There is nothing to train, or lazy or FSDP1 parameters whose shapes are not known.

    >>> from torch import nn
    >>> list(named_parameters(nn.Linear(2, 1)))
    ['weight', 'bias']
    """
    found: dict[str, nn.Parameter] = {}
    for name, parameter in unwrap(model).named_parameters():
        if not parameter.requires_grad:
            continue
        _check_shaped(name, parameter)
        if "_fsdp_wrapped_module" in name or name.endswith("_flat_param"):
            raise ValueError(
                f"model must not be wrapped in FullyShardedDataParallel, whose {name} is a flat shard; "
                "use fully_shard"
            )
        if not parameter.is_floating_point():
            raise ValueError(f"model must have real parameters, but {name} is {parameter.dtype}")
        found[clean_name(name)] = parameter
    if not found:
        raise ValueError("model must have trainable parameters, got none; set requires_grad on some")
    return found


def flat_rows(tensor: Tensor) -> Tensor:
    """Return [n, *shape] as [n, numel], a parameter without dimensions as one number a row.

    >>> flat_rows(torch.zeros(3)).shape, flat_rows(torch.zeros(3, 2, 2)).shape
    (torch.Size([3, 1]), torch.Size([3, 4]))
    """
    return tensor.flatten(1) if tensor.ndim > 1 else tensor[:, None]


def named_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that belong to a state of the network, those of its `state_dict`, by their bare names.

    Buffers that are registered as not persistent, such as masks and positions, are constants of the architecture.

    >>> from torch import nn
    >>> list(named_buffers(nn.BatchNorm1d(1)))
    ['running_mean', 'running_var', 'num_batches_tracked']
    """
    found: dict[str, Tensor] = {}
    for path, module in unwrap(model).named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                found[clean_name(f"{path}.{name}" if path else name)] = buffer
    return found


def _is_sharded(parameter: Tensor) -> bool:
    # Asked by attribute: importing DTensor costs half a second that only FSDP's users should pay.
    return hasattr(parameter, "full_tensor")


def local(parameter: Tensor) -> Tensor:
    """Return what this process holds of a parameter: its shard under FSDP, else the parameter itself."""
    return cast(Any, parameter).to_local() if _is_sharded(parameter) else parameter


def gather(shard: Tensor, parameter: Tensor) -> Tensor:
    """Return the whole of a tensor that is sharded as `parameter` is; every process must call it.

    Args:
        shard: This process's piece, of the shape of `local(parameter)`.
        parameter: The parameter whose layout it has.
    """
    if not _is_sharded(parameter):
        return shard
    from torch.distributed.tensor import DTensor

    like = cast(DTensor, parameter)
    whole = DTensor.from_local(
        shard.to(like.to_local().device),
        like.device_mesh,
        like.placements,
        shape=like.shape,
        stride=like.stride(),
    )
    return whole.full_tensor().to(shard.device)


def _leading(params: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> torch.Size:
    if set(params) != set(like):
        missing, extra = sorted(set(like) - set(params)), sorted(set(params) - set(like))
        raise ValueError(f"params must have the names {list(like)}; missing {missing}, unknown {extra}")
    leads = set()
    for name, tensor in params.items():
        shape, own = tensor.shape, like[name].shape
        if len(shape) < len(own) or shape[len(shape) - len(own) :] != own:
            raise ValueError(
                f"params[{name!r}] must have shape [..., {', '.join(map(str, own))}], got {list(shape)}"
            )
        leads.add(shape[: len(shape) - len(own)])
    if len(leads) > 1:
        raise ValueError(
            f"params must share their leading dimensions, got {sorted(map(list, leads))}; stack them alike"
        )
    return leads.pop()


def flatten(
    params: Mapping[str, Tensor], like: Mapping[str, Tensor] | None = None
) -> Float[Tensor, "... size"]:
    """Return the vector [..., P] of a dict of [..., *shape].

    Args:
        params: From name to tensor.
        like: What tells the order and the shapes without leading dimensions, such as a posterior's mean;
            `None` means that there are no leading dimensions.

    Raises:
        ValueError: Names or shapes other than `like`'s.

    >>> import torch
    >>> one = {"w": torch.zeros(2, 3), "b": torch.zeros(2)}
    >>> flatten(one).shape
    torch.Size([8])
    >>> flatten({"w": torch.zeros(5, 2, 3), "b": torch.zeros(5, 2)}, one).shape
    torch.Size([5, 8])
    """
    names = params if like is None else like
    lead = _leading(params, names)
    return torch.cat([params[name].reshape(*lead, -1) for name in names], -1)


def unflatten(flat: Float[Tensor, "... size"], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the dict of [..., *shape] of a vector [..., P]; views, where the memory allows it.

    Raises:
        ValueError: A vector whose length is not the number of parameters of `like`.

    >>> import torch
    >>> unflatten(torch.arange(3.0), {"w": torch.zeros(1, 2), "b": torch.zeros(1)})
    {'w': tensor([[0., 1.]]), 'b': tensor([2.])}
    """
    sizes: Sequence[int] = [tensor.numel() for tensor in like.values()]
    if flat.ndim == 0 or flat.shape[-1] != sum(sizes):
        raise ValueError(f"flat must have shape [..., {sum(sizes)}], got {list(flat.shape)}")
    pieces = flat.split(list(sizes), -1)
    return {
        name: piece.reshape((*flat.shape[:-1], *tensor.shape))
        for (name, tensor), piece in zip(like.items(), pieces, strict=True)
    }
