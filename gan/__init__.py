"""Small GANs whose loss switches between KL-style, Wasserstein and Sinkhorn distances.

    data → loss(critic) → generator → samples

`GAN(generator, critic, loss=..., penalties=...)` is trained by `.fit(data, steps=...)` and sampled by `.sample(n)`;
`gan.recipe(name, like=data)` says what each loss was found to need, and `GAN.from_recipe` trains by it, whole.
Losses stand in `gan.losses`, penalties in `gan.penalties`, networks in `gan.networks`, data in `gan.data`.
"""

from gan import augment, callbacks, data, losses, networks, penalties
from gan.data import Data
from gan.fresh import fresh_divergence
from gan.history import History
from gan.loading import load
from gan.loop import TrainingDivergedError
from gan.many import fit_many
from gan.recipes import Recipe, recipe
from gan.settings import TrainingSettings
from gan.train import GAN
from metrics import __version__ as __version__

__all__ = [
    "GAN",
    "Data",
    "History",
    "Recipe",
    "TrainingDivergedError",
    "TrainingSettings",
    "augment",
    "callbacks",
    "data",
    "fit_many",
    "fresh_divergence",
    "load",
    "losses",
    "networks",
    "penalties",
    "recipe",
]
