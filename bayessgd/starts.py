"""Where chains start: independent initialisations, or one point and noise around it.

Convergence can only be judged from chains that start further apart than the posterior is wide (Gelman & Rubin
1992); fresh initialisations of a network do. Both kinds are drawn on the CPU, so that a seed gives the same
starts on every device, and leave torch's global seed alone.
"""

import math

import torch
from torch import Tensor, nn

from bayessgd._functional import copied
from metrics.inputs import check_number

__all__ = ["jittered_starts", "reset_starts"]


ALL = slice(None)
"""Every chain."""


def _values(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in [*model.named_parameters(), *model.named_buffers()]}


def reset_starts(
    model: nn.Module, num_chains: int, *, seed: int, which: slice = ALL
) -> list[dict[str, Tensor]]:
    """Return new initialisations, parameters and buffers by name, one dict for each chain, or for some of them.

    >>> one, other = reset_starts(nn.Linear(2, 1), 2, seed=0)
    >>> one["weight"].shape, bool((one["weight"] == other["weight"]).any())
    (torch.Size([1, 2]), False)
    """
    devices = {name: t.device for name, t in _values(model).items()}
    model = copied(model).to("cpu")
    resets = []
    # Children first: where a parent has a rule for its children it overrides theirs.
    for name, module in reversed(list(model.named_modules())):
        own = [p.requires_grad for p in module.parameters(recurse=False)]
        if own and not any(own):
            continue  # frozen: a pretrained BatchNorm keeps its statistics with its weights
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if reset is not None:
            resets.append(reset)
        elif own:
            raise ValueError(
                f"model must know how to start anew, but {type(module).__name__} at {name!r} has parameters "
                "and no reset_parameters; write one, or pass jitter= to start from noisy copies"
            )
    seeds = torch.randint(2**62, (num_chains,), generator=torch.Generator().manual_seed(seed))[which].tolist()
    starts = []
    # devices=[] and the CPU's generator alone: torch.manual_seed would reseed the GPUs, which are not forked.
    with torch.random.fork_rng(devices=[]):
        for chain_seed in seeds:
            torch.default_generator.manual_seed(chain_seed)
            _forget(model)
            for reset in resets:
                reset()
            _check_reset(model)
            starts.append({name: t.to(devices[name]) for name, t in _values(model).items()})
    return starts


@torch.no_grad()
def _forget(model: nn.Module) -> None:
    """Make what a reset leaves as it is visible."""
    for p in model.parameters():
        if p.requires_grad:
            p.fill_(torch.nan)


def _check_reset(model: nn.Module) -> None:
    """Refuse starts that some parameters share, for no `reset_parameters` has written to them."""
    left = [name for name, p in model.named_parameters() if p.requires_grad and bool(p.isnan().any())]
    if left:
        raise ValueError(
            f"model must know how to start anew, but its reset_parameters leave {left} as they are; write one that "
            "does not, or pass jitter= to start from noisy copies"
        )


def jittered_starts(
    model: nn.Module, num_chains: int, *, seed: int, scale: int | float, which: slice = ALL
) -> list[dict[str, Tensor]]:
    """Return copies of the model's own values with Gaussian noise of standard deviation `scale`.

    >>> net = nn.Linear(2, 1)
    >>> [start] = jittered_starts(net, 1, seed=0, scale=0)
    >>> bool((start["weight"] == net.weight).all())
    True
    """
    scale = check_number(scale, "jitter")
    if not 0 <= scale < math.inf:
        raise ValueError(f"jitter must be finite and at least 0, got {scale}; 0 gives equal copies")
    gen = torch.Generator().manual_seed(seed)
    starts, kept = [], range(num_chains)[which]
    for chain in range(num_chains):
        start = _values(model)
        for name, p in model.named_parameters():
            if p.requires_grad:
                noise = torch.randn(p.shape, dtype=p.dtype, generator=gen)
                start[name] += scale * noise.to(p.device)
        if chain in kept:
            starts.append(start)
    return starts
