"""What a learned cost does to the two clouds before a divergence compares them."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from metrics.inputs import check_pair


def unit_norm(real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"]) -> tuple[Tensor, Tensor]:
    """Return the embeddings on the unit sphere.

    A network that maximises a divergence could otherwise do so by scale alone, and a fixed ε or bandwidth
    would mean something else at every step. On the sphere every squared distance is 2 − 2cos, at most 4.
    """
    check_pair(real, fake, ("real", "fake"))
    return normalize(real, dim=1), normalize(fake, dim=1)
