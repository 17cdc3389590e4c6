"""Points with their classes, as `evaluate_conditional` looks at them."""

from dataclasses import dataclass

from jaxtyping import Int64
from torch import Tensor

from metrics.evaluation.classification import check_classes
from metrics.evaluation.evaluate import Features
from metrics.features.seen import seen as seen_through
from metrics.inputs import as_cloud, from_array

__all__ = ["Labelled"]


@dataclass(frozen=True)
class Labelled:
    """Points with their classes.

    Attributes:
        given: Points as they came, [n, ...].
        labels: Their classes [n].
        name: What messages call them.
    """

    given: Tensor
    labels: Int64[Tensor, " n"]
    name: str

    @staticmethod
    def of(points: object, labels: object, name: str) -> "Labelled":
        """Return points and classes that belong together.

        >>> import torch
        >>> Labelled.of(torch.zeros(3, 2), torch.tensor([0, 1, 1]), "samples").part(1).shape
        torch.Size([2, 2])
        """
        given = from_array(points, name)
        if given.ndim == 0:
            raise ValueError(f"{name} must have a row for each sample, got shape []; pass [n, d]")
        told = "labels" if name == "samples" else f"{name}_labels"
        return Labelled(given, check_classes(labels, len(given), told).to(given.device), name)

    def part(self, label: int) -> Tensor:
        """Return the points of one class."""
        return self.given[self.labels == label]

    def seen(self, features: Features | None) -> "Labelled":
        """Return the same as points [n, d], through features where there are any."""
        cloud = as_cloud(self.given, self.name).detach()
        if features is not None:
            cloud = seen_through(features, self.given if self.given.ndim > 2 else cloud, "features").flatten(
                1
            )
        return Labelled(cloud, self.labels, self.name)
