"""What `GAN` asks of its parts before it trains: errors that say what to write."""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan.identity import told
from gan.losses.protocols import SampleLoss, ScoreLoss
from gan.losses.wasserstein import Wasserstein
from gan.networks.generator import latent_dim, num_classes
from gan.penalties import Penalty, refuse_batch_norm
from gan.recipes.recipe import Recipe
from gan.settings import TrainingSettings
from gan.sources import Source
from metrics.evaluating import evaluating

__all__ = [
    "augmentations",
    "dtype_of",
    "looks",
    "loss",
    "penalties",
    "players",
    "settings",
    "shapes",
    "trainable",
    "types",
]

T = TypeVar("T")


def loss(given: object) -> ScoreLoss | SampleLoss:
    """Return a loss, and refuse what is none with what to write instead."""
    if isinstance(given, str):
        raise TypeError(
            f"loss must be a loss object, got the name {given!r}; write loss=gan.losses.named({given!r}), or with its "
            f"penalties and rates GAN.from_recipe(gan.recipe({given!r}, like=data), generator, critic)"
        )
    if isinstance(given, Recipe):
        raise TypeError(
            "loss must be a loss object, got a recipe; write GAN.from_recipe(recipe, generator, critic)"
        )
    if isinstance(given, type):
        raise TypeError(
            f"loss must be a loss object, got the class {given.__name__}; write loss={given.__name__}()"
        )
    if isinstance(given, ScoreLoss) or (isinstance(given, SampleLoss) and callable(given)):
        return given
    raise TypeError(
        f"loss must have critic_loss and generator_loss, or be callable as loss(real, fake, generator=...) with an "
        f"attribute learned_cost, got {type(given).__name__}; take one of gan.losses, or give yours "
        f"learned_cost = False"
    )


def penalties(given: object) -> tuple[Penalty, ...]:
    """Return the penalties as a tuple."""
    if isinstance(given, Penalty):
        raise TypeError(f"penalties must be a sequence, got {given}; write penalties=({given},)")
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise TypeError(
            f"penalties must be a sequence of gan.penalties, got {given!r}; write penalties=(R1(1.0),)"
        )
    for each in given:
        if isinstance(each, type):
            raise TypeError(
                f"penalties must be objects, got the class {each.__name__}; write {each.__name__}(...)"
            )
        if not isinstance(each, Penalty):
            raise TypeError(
                f"penalties must be of gan.penalties, got {type(each).__name__}; derive from Penalty"
            )
    return tuple(given)


def players(
    generator: nn.Module,
    critic: nn.Module | None,
    loss: ScoreLoss | SampleLoss,
    penalties: tuple[Penalty, ...],
) -> None:
    """Refuse players that do not fit the loss, the penalties or each other."""
    wants_critic = isinstance(loss, ScoreLoss) or loss.learned_cost
    if wants_critic and critic is None:
        raise ValueError(f"{loss} needs a critic, got None; pass one, such as gan.networks.mlp_critic")
    if not wants_critic and critic is not None:
        learned = (
            ", or set learned_cost=True"
            if "learned_cost" in getattr(loss, "__dataclass_fields__", ())
            else ""
        )
        raise ValueError(f"{loss} takes no critic, got one; leave it out{learned}")
    if critic is None:
        if penalties:
            raise ValueError("penalties regularise a critic, and there is none; leave them out")
        return
    trained = {id(p) for p in generator.parameters() if p.requires_grad}
    shared = [name for name, p in critic.named_parameters() if p.requires_grad and id(p) in trained]
    if shared:
        raise ValueError(
            f"generator and critic must have weights of their own, and share {shared[0]} of the critic, which two "
            "optimizers would pull apart; give one a copy.deepcopy of the layer, or freeze it"
        )
    if num_classes(critic) != num_classes(generator):
        raise ValueError(
            f"generator and critic must have the same num_classes, got {num_classes(generator)} and "
            f"{num_classes(critic)}; make both conditional (gan.networks.Projection) or neither"
        )
    if any(each.per_sample for each in penalties):
        refuse_batch_norm(critic)
    last = list(critic.modules())[-1]
    if isinstance(loss, ScoreLoss) and isinstance(last, nn.Sigmoid):
        warnings.warn(
            f"{loss} takes scores before a sigmoid, and the critic ends with nn.Sigmoid: it would be taken twice; "
            "leave the critic's out",
            stacklevel=3,
        )
    if isinstance(loss, Wasserstein) and not penalties and not _is_bounded(critic):
        warnings.warn(
            "the Wasserstein loss needs a critic of bounded slope, and nothing bounds it: its loss will run away; pass "
            "penalties=(gan.penalties.GradientPenalty(),), or take gan.recipe('wgan-gp', like=data) whole",
            stacklevel=3,
        )


def _is_bounded(critic: nn.Module) -> bool:
    """Whether some layer has a constraint of its own, such as spectral normalisation."""
    return any(parametrize.is_parametrized(layer) or hasattr(layer, "weight_u") for layer in critic.modules())


def dtype_of(generator: nn.Module) -> torch.dtype:
    """The type of the generator's numbers."""
    return next((p.dtype for p in generator.parameters() if p.is_floating_point()), torch.float32)


def trainable(name: str, network: nn.Module | None) -> None:
    """Refuse a network without a parameter to train, or with some that cannot be trained."""
    if network is None:
        return
    found = list(network.parameters())
    if any(p.is_inference() for p in found):
        raise ValueError(
            f"{name} must not be made inside torch.inference_mode, which keeps its parameters from being trained; make "
            "it outside (fit itself may be called inside)"
        )
    if not any(p.requires_grad for p in found):
        raise ValueError(
            f"{name} must have parameters that are trained, got {len(found)} and none of them requires a gradient; "
            f"write {name}.requires_grad_()"
        )


def types(name: str, network: nn.Module | None, dtype: torch.dtype) -> None:
    """Refuse a network in half precision, or of another type than the generator."""
    if network is None:
        return
    if dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"generator must be float32 or float64, got {dtype}; write generator.float(), and amp=True for bfloat16 on "
            "CUDA"
        )
    others = {p.dtype for p in network.parameters() if p.is_floating_point()} - {dtype}
    if others:
        other = ", ".join(sorted(str(t) for t in others))
        raise TypeError(f"{name} must be {dtype} as the generator is, got {other}; write {name}.to({dtype})")


def shapes(
    generator: nn.Module, critic: nn.Module | None, loss: ScoreLoss | SampleLoss, source: Source
) -> None:
    """Refuse samples that the generator does not make, or that the critic cannot see."""
    samples, labels = source.example()
    classes = num_classes(generator)
    if classes:
        if labels is None:
            raise ValueError(
                f"data must have labels for a generator of {classes} classes; pass labels=, or pairs"
            )
        counts = source.class_counts()
        most = int(labels.max()) if counts is None else len(counts) - 1
        if most >= classes:
            raise ValueError(f"labels must be below num_classes = {classes}, got {most}; make more classes")
    condition = (labels,) if classes and labels is not None else ()
    players = [net for net in (generator, critic) if net is not None]
    # A look must not move running statistics.
    with evaluating(*players), torch.no_grad():
        latents = samples.new_zeros(len(samples), latent_dim(generator))
        made = _called("generator", generator, latents, *condition)
        if made.shape != samples.shape:
            raise ValueError(
                f"data must have the generator's sample shape {list(made.shape[1:])}, got "
                f"{list(samples.shape[1:])}; "
                f"{_reshaped(samples.shape[1:], made.shape[1:])}"
            )
        if critic is not None:
            scores = _called("critic", critic, samples, *condition)
            if scores.dtype not in (torch.float32, torch.float64):
                raise TypeError(
                    f"critic must return float32 or float64, got {scores.dtype}; let its forward return one "
                    f"of its input's type, {samples.dtype}"
                )
            if isinstance(loss, ScoreLoss) and (scores.ndim != 2 or scores.shape[1] != 1):
                raise ValueError(
                    f"critic must return scores [n, 1] for {loss}, got {list(scores.shape)} for n = "
                    f"{len(samples)}; {_scored(scores, len(samples))}"
                )


def _called(name: str, net: nn.Module, *arguments: Tensor) -> Tensor:
    try:
        found = net(*arguments)
    except (RuntimeError, TypeError, IndexError) as error:
        told = ", ".join(str(list(each.shape)) for each in arguments)
        remedy = "reshape the data, or wrap the module in one that reshapes"
        if name == "generator" and "conv_transpose" in str(error):
            length = arguments[0].shape[1]
            remedy = (
                f"for latents [n, {length}, 1, 1] write gan.networks.Generator(nn.Sequential("
                f"nn.Unflatten(1, ({length}, 1, 1)), module), latent_dim={length})"
            )
        raise ValueError(
            f"{name} cannot take inputs of shape {told}: {str(error).splitlines()[0]}; {remedy}"
        ) from error
    if not isinstance(found, Tensor):
        raise TypeError(
            f"{name} must return one tensor, got {type(found).__name__}; wrap the module in one that picks it"
        )
    return found


def _scored(scores: Tensor, n: int) -> str:
    """How a critic's output becomes scores [n, 1]."""
    if scores.shape == (n,):
        return "let its forward return scores[:, None]"
    if scores.ndim > 2 and scores.shape[0] == n and scores[0].numel() == 1:
        return "let its forward return scores.flatten(1)"
    return "end it with a number for each sample, such as flatten and nn.Linear(features, 1)"


def _reshaped(has: torch.Size, wants: torch.Size) -> str:
    if len(has) == 3 and (has[2], has[0], has[1]) == tuple(wants):
        return "move the channels first: torch.as_tensor(data).permute(0, 3, 1, 2)"
    if has.numel() == wants.numel():
        return f"reshape the data: data.reshape(-1, {', '.join(map(str, wants))})"
    return "give the generator another output, or take other data"


def looks(given: Any) -> tuple[Any, ...]:
    """What looks at a training, each to be called as `on_step(step, model, history)`."""
    return _callable("on_step", given, "write def look(step, model, history), or see gan.callbacks")


def augmentations(given: Any) -> tuple[Any, ...]:
    """Changes of the samples, each to be called as `augmentation(batch, generator=...)`."""
    remedy = "see gan.augment, or write def change(batch, *, generator)"
    found = _callable("augment", given, remedy)
    for each in found:
        function = each.forward if isinstance(each, nn.Module) else each
        try:
            taken = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # some have none to look at
            continue
        if not any(p.name == "generator" or p.kind is p.VAR_KEYWORD for p in taken):
            raise TypeError(
                f"augment must be called as change(batch, generator=...), and {told(each)} takes no generator; what "
                "draws by torch's own is lambda batch, generator: change(batch), which no seed repeats"
            )
    return found


def _callable(name: str, given: Any, remedy: str) -> tuple[Any, ...]:
    found = tuple(given) if isinstance(given, list | tuple) else (given,)
    for each in found:
        if isinstance(each, type):
            raise TypeError(
                f"{name} must be functions, got the class {each.__name__}; write {each.__name__}(...)"
            )
        if not callable(each):
            raise TypeError(f"{name} must be functions, got {type(each).__name__}; {remedy}")
    return found


def settings(given: object, default: TrainingSettings) -> TrainingSettings:
    """Return training settings, those of the recipe for None."""
    if given is None:
        return default
    if isinstance(given, TrainingSettings):
        return given
    remedy = "TrainingSettings(learning_rate=...)"
    if isinstance(given, Mapping):
        remedy = "TrainingSettings(**settings)"
    elif isinstance(given, Recipe):
        remedy = "recipe.settings, or GAN.from_recipe(recipe, generator, critic)"
    raise TypeError(f"settings must be gan.TrainingSettings, got {_named(given)}; write {remedy}")


def _named(given: object) -> str:
    return f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
