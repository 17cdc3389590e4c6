"""What a generator has to say of itself: the length of its latent vectors, and its classes if it has any."""

from math import prod

from jaxtyping import Float
from torch import Tensor, nn

from metrics.inputs import check_count

__all__ = ["Generator", "latent_dim", "num_classes"]


class Generator(nn.Module):
    """A network that knows the dimension of the latent vectors it wants.

    Any module with an int attribute `latent_dim` will do as well; this wraps one that has none.

    >>> Generator(nn.Linear(16, 64), latent_dim=16).latent_dim
    16
    """

    def __init__(self, net: nn.Module, *, latent_dim: int) -> None:
        super().__init__()
        self.net = net
        self.latent_dim = check_count(latent_dim, "latent_dim")

    def forward(self, z: Float[Tensor, "n latent"]) -> Float[Tensor, "n ..."]:
        """Map latent vectors to samples."""
        return self.net(z)


def latent_dim(generator: nn.Module) -> int:
    """Return the length of the latent vectors that a generator wants, refusing a module that does not say.

    >>> latent_dim(Generator(nn.Linear(16, 64), latent_dim=16))
    16
    """
    length = getattr(generator, "latent_dim", None)
    if length is None:
        raise TypeError(
            f"generator must have an int attribute latent_dim, and {type(generator).__name__} has none; "
            "write gan.networks.Generator(module, latent_dim=...)"
        )
    if isinstance(length, tuple | list):
        raise TypeError(
            f"generator.latent_dim must be an int, got {type(length).__name__}; for latents of shape "
            f"[n, {', '.join(map(str, length))}] write gan.networks.Generator(nn.Sequential(nn.Unflatten(1, "
            f"{tuple(length)}), module), latent_dim={prod(length)})"
        )
    return check_count(length, "generator.latent_dim")


def num_classes(module: nn.Module | None) -> int:
    """Return the classes that a generator or critic is conditional on, its attribute `num_classes`; 0 without.

    >>> num_classes(Generator(nn.Identity(), latent_dim=2))
    0
    """
    return check_count(getattr(module, "num_classes", 0) or 0, "num_classes", least=0)
