"""What iterates become: laws over the parameters of a network, with draws, densities and files."""

from bayessgd.posteriors.base import Posterior
from bayessgd.posteriors.ensemble import Ensemble
from bayessgd.posteriors.files import load
from bayessgd.posteriors.gaussian import LowRankGaussian
from bayessgd.posteriors.mixture import Mixture

__all__ = ["Ensemble", "LowRankGaussian", "Mixture", "Posterior", "load"]
