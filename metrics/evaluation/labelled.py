"""Points with their classes, as `evaluate_conditional` looks at them."""

from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from metrics.evaluation.classification import check_classes
from metrics.evaluation.evaluate import Features
from metrics.inputs import as_cloud, as_tensor, from_array

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
            with torch.no_grad():
                cloud = as_tensor(
                    features(self.given if self.given.ndim > 2 else cloud), "features(x)"
                ).flatten(1)
        return Labelled(cloud, self.labels, self.name)
