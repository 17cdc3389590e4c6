"""Small GANs whose loss switches between KL-style, Wasserstein and Sinkhorn distances.

    data → loss(critic) → generator → samples

`GAN(generator, critic, loss=..., penalties=...)` is trained by `.fit(data, steps=...)` and sampled by
`.sample(n)`. Losses stand in `gan.losses`, penalties in `gan.penalties`; `gan.recipes.recipe(name)` says what
each loss was found to need on small data.
"""

from gan import losses, networks, penalties
from gan.data import Data
from gan.history import History
from gan.loop import TrainingDivergedError
from gan.settings import TrainingSettings
from gan.train import GAN

__all__ = [
    "GAN",
    "Data",
    "History",
    "TrainingDivergedError",
    "TrainingSettings",
    "losses",
    "networks",
    "penalties",
]
