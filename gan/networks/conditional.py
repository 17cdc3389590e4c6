"""Networks that know a class: G(z, y) and v(x, y).

    projection       v(x, y) = ψ(φ(x)) + ⟨e_y, φ(x)⟩        Miyato & Koyama 2018, eq. 4
    concatenation    v(x, y) = ψ(x ⊕ onehot(y))             Mirza & Osindero 2014

The projection is what the log-ratio of two conditional distributions looks like when the classes differ by a linear
form of the features; it is the default of the built-in critics. Both have an attribute `num_classes`, which is what
makes a game conditional, and are called with samples and classes.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot

from metrics.inputs import check_count

__all__ = ["Concatenation", "ConditionalGenerator", "Projection"]


class ConditionalGenerator(nn.Module):
    """G(z, y) = net(z ⊕ e_y), e_y a learned vector of the class.

    Args:
        net: Maps vectors of length latent_dim + embedding to samples.
        latent_dim: The length of z.
        num_classes: The number of classes.
        embedding: The length of e_y.

    >>> generator = ConditionalGenerator(nn.Linear(4 + 8, 2), latent_dim=4, num_classes=3, embedding=8)
    >>> generator(torch.zeros(5, 4), torch.tensor([0, 1, 2, 0, 1])).shape
    torch.Size([5, 2])
    """

    def __init__(self, net: nn.Module, *, latent_dim: int, num_classes: int, embedding: int = 16) -> None:
        super().__init__()
        self.net, self.latent_dim = net, check_count(latent_dim, "latent_dim")
        self.num_classes = check_count(num_classes, "num_classes")
        self.embedding = nn.Embedding(self.num_classes, check_count(embedding, "embedding"))

    def forward(self, z: Float[Tensor, "n latent"], labels: Int[Tensor, " n"]) -> Tensor:
        """Map latent vectors and classes to samples."""
        return self.net(torch.cat([z, self.embedding(labels).to(z)], 1))


class Projection(nn.Module):
    """The projection critic v(x, y) = ψ(φ(x)) + ⟨e_y, φ(x)⟩, ψ linear, or that sum in each number of an embedding.

    Args:
        features: φ, from samples to vectors [n, width].
        width: The length of φ(x).
        num_classes: The number of classes.
        output_dim: 1 for a score; more for an embedding of a learned cost.

    >>> critic = Projection(nn.Linear(2, 6), width=6, num_classes=3)
    >>> critic(torch.zeros(5, 2), torch.tensor([0, 1, 2, 0, 1])).shape
    torch.Size([5, 1])
    """

    def __init__(self, features: nn.Module, *, width: int, num_classes: int, output_dim: int = 1) -> None:
        super().__init__()
        self.features, self.num_classes = features, check_count(num_classes, "num_classes")
        self.output = nn.Linear(check_count(width, "width"), check_count(output_dim, "output_dim"))
        self.classes = nn.Embedding(self.num_classes, width * output_dim)
        nn.init.zeros_(self.classes.weight)

    def forward(self, x: Tensor, labels: Int[Tensor, " n"]) -> Float[Tensor, "n k"]:
        """Score samples with their classes."""
        features = self.features(x)
        per_class = self.classes(labels).view(len(x), self.output.out_features, -1)
        return self.output(features) + torch.einsum("nkw,nw->nk", per_class.to(features), features)


class Concatenation(nn.Module):
    """v(x, y) = ψ(x ⊕ onehot(y)); for images each class is one more channel, constant over the image.

    Args:
        net: ψ, from samples with num_classes more numbers or channels.
        num_classes: The number of classes.

    >>> critic = Concatenation(nn.Linear(2 + 3, 1), num_classes=3)
    >>> critic(torch.zeros(2, 2), torch.tensor([0, 2])).shape
    torch.Size([2, 1])
    """

    def __init__(self, net: nn.Module, *, num_classes: int) -> None:
        super().__init__()
        self.net, self.num_classes = net, check_count(num_classes, "num_classes")

    def forward(self, x: Tensor, labels: Int[Tensor, " n"]) -> Tensor:
        """Score samples with their classes."""
        hot = one_hot(labels, self.num_classes).to(x).reshape(len(x), -1, *(1,) * (x.ndim - 2))
        return self.net(torch.cat([x, hot.expand(-1, -1, *x.shape[2:])], 1))
