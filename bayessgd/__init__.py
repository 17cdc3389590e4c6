"""SGD trajectories as approximate Bayesian inference.

    optimizer → iterates → collector → Posterior → predict

Any torch optimizer is a sampler: `theory` says which learning rate or preconditioner makes its iterates a
posterior, `noise` measures the gradient noise and the curvature that the theory asks for, `likelihoods` and
`priors` own the number of data and the temperature, `optim` adds what torch lacks. A collector (`SWAG`,
`IterateAverage`, `Trajectory`) listens to the optimizer; its `.posterior()` has a mean, draws, a density and
a file; `predict` turns draws into predictions. `optimum` and `sample` go from a model, data, likelihood and prior to
draws of the posterior in two calls.
"""

from bayessgd import (
    calibration,
    interop,
    likelihoods,
    noise,
    optim,
    priors,
    reference,
    samplers,
    sampling,
    theory,
)
from bayessgd._reduce import Moments
from bayessgd.calibration import calibrate, effective_temperature
from bayessgd.chains import Chains
from bayessgd.checkpoints import from_checkpoints
from bayessgd.collectors import SWAG, IterateAverage, Trajectory
from bayessgd.evidence import EmpiricalBayes
from bayessgd.loaders import iid_loader
from bayessgd.modes import Optimum, optimum
from bayessgd.posteriors import Ensemble, LowRankGaussian, Mixture, Posterior, load
from bayessgd.predict import predict
from bayessgd.ranks import gather_ensemble
from bayessgd.sampling import sample
from bayessgd.snapshots import snapshots
from bayessgd.subspace import Subspace, principal_subspace, subspace_nuts
from metrics import __version__ as __version__

__all__ = [
    "SWAG",
    "Chains",
    "EmpiricalBayes",
    "Ensemble",
    "IterateAverage",
    "LowRankGaussian",
    "Mixture",
    "Moments",
    "Optimum",
    "Posterior",
    "Subspace",
    "Trajectory",
    "calibrate",
    "calibration",
    "effective_temperature",
    "from_checkpoints",
    "gather_ensemble",
    "iid_loader",
    "interop",
    "likelihoods",
    "load",
    "noise",
    "optim",
    "optimum",
    "predict",
    "principal_subspace",
    "priors",
    "reference",
    "sample",
    "samplers",
    "sampling",
    "snapshots",
    "subspace_nuts",
    "theory",
]
