"""Likelihoods, and the one loss that every sampler descends.

A likelihood turns a network's output f(x; θ) into a `torch.distributions.Distribution` over the target, one
per datum; with a prior from `bayessgd.priors` it makes the mean negative log joint per datum, which owns N,
the temperature and mean-versus-sum.
"""

from bayessgd.likelihoods.counts import Poisson
from bayessgd.likelihoods.dependent import JointLikelihood
from bayessgd.likelihoods.discrete import Bernoulli, Categorical
from bayessgd.likelihoods.gaussian import Gaussian, GaussianLogScale, LearnedScale
from bayessgd.likelihoods.joint import Likelihood, log_joint, mean_negative_log_joint
from bayessgd.likelihoods.weighted import Weighted
from bayessgd.named_priors import HalfStudentT, LogScalePrior, NamedPriors
from bayessgd.priors import (
    ElementwisePrior,
    FlatPrior,
    GaussianPrior,
    Prior,
    check_no_weight_decay,
)

__all__ = [
    "Bernoulli",
    "Categorical",
    "ElementwisePrior",
    "FlatPrior",
    "Gaussian",
    "GaussianLogScale",
    "GaussianPrior",
    "HalfStudentT",
    "JointLikelihood",
    "LearnedScale",
    "Likelihood",
    "LogScalePrior",
    "NamedPriors",
    "Poisson",
    "Prior",
    "Weighted",
    "check_no_weight_decay",
    "log_joint",
    "mean_negative_log_joint",
]
