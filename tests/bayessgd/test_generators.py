"""A seed in the place of a generator is refused wherever something is drawn; numpy's generator too."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bayessgd
from bayessgd import Ensemble, Mixture
from bayessgd.likelihoods import Gaussian
from bayessgd.posteriors import LowRankGaussian
from bayessgd.priors import GaussianPrior

NET = nn.Linear(2, 1)
NAMED = {name: p.detach() for name, p in NET.named_parameters()}
LAW = LowRankGaussian(NAMED, {name: torch.ones_like(p) for name, p in NAMED.items()})
POINTS = Ensemble({name: torch.stack([p, p]) for name, p in NAMED.items()})
X, Y = torch.zeros(5, 2), torch.zeros(5, 1)

DRAWS: dict[str, Callable[[Any], object]] = {
    "gaussian": lambda seed: LAW.sample(3, generator=seed),
    "ensemble": lambda seed: POINTS.sample(3, generator=seed),
    "each member": lambda seed: POINTS.sample(2, generator=seed),
    "mixture": lambda seed: Mixture([LAW, LAW]).sample(3, generator=seed),
    "prior": lambda seed: GaussianPrior(1.0).sample(NAMED, generator=seed),
    "predict": lambda seed: bayessgd.predict(NET, LAW, X, generator=seed),
    "calibrate": lambda seed: bayessgd.calibrate(
        NET, LAW, X, Y, likelihood=Gaussian(1.0), prior=GaussianPrior(1.0), generator=seed
    ),
    "trace": lambda seed: bayessgd.noise.hessian(NET, nn.functional.mse_loss, X, Y).diagonal(
        num_probes=2, generator=seed
    ),
    "loader": lambda seed: bayessgd.iid_loader(
        torch.utils.data.TensorDataset(X), batch_size=1, num_batches=1, generator=seed
    ),
    "sampler": lambda seed: bayessgd.optim.SGLD(NET.parameters(), lr=0.1, num_data=5, generator=seed),
}


@pytest.mark.parametrize("draw", DRAWS)
def test_a_seed_in_the_place_of_a_generator_is_refused(draw):
    with pytest.raises(TypeError, match=r"got int; pass torch.Generator\(\).manual_seed\(5\)"):
        DRAWS[draw](5)
    with pytest.raises(TypeError, match=r"generator must be a torch.Generator or None, got Generator"):
        DRAWS[draw](np.random.default_rng(0))
