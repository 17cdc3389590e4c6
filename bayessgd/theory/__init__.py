"""The theory of SGD as a sampler: closed forms on a quadratic, in float64, with no model in sight.

`stationary` says where constant SGD settles, `preconditioners` which step brings it closest to the
posterior, `corrected` and `langevin` what noise to add, `averaging` and `shuffling` what means of iterates
sample, `divergence` how far all that is from the posterior. `linear_regression` and
`learned_scale_regression` treat the models whose gradient noise is known at every θ, `forecast` tells from it
what a sampler will do, and `corrected_step` chooses the step by that.
"""

from bayessgd.theory.averaging import iterate_average_covariance
from bayessgd.theory.corrected import injected_noise
from bayessgd.theory.corrected_step import CorrectedStep, corrected_step
from bayessgd.theory.divergence import kl_to_posterior, optimal_scale
from bayessgd.theory.empirical_bayes import prior_precision_step
from bayessgd.theory.forecast import Forecast
from bayessgd.theory.langevin import sgfs_covariance, sgfs_preconditioner, sgld_covariance
from bayessgd.theory.learned_scale_regression import LearnedScaleRegression
from bayessgd.theory.linear_regression import LinearRegression
from bayessgd.theory.lyapunov import continuous_lyapunov, discrete_lyapunov
from bayessgd.theory.preconditioners import optimal_learning_rate, optimal_preconditioner
from bayessgd.theory.shuffling import epoch_covariance
from bayessgd.theory.stationary import largest_stable_rate, stationary_covariance

__all__ = [
    "CorrectedStep",
    "Forecast",
    "LearnedScaleRegression",
    "LinearRegression",
    "continuous_lyapunov",
    "corrected_step",
    "discrete_lyapunov",
    "epoch_covariance",
    "injected_noise",
    "iterate_average_covariance",
    "kl_to_posterior",
    "largest_stable_rate",
    "optimal_learning_rate",
    "optimal_preconditioner",
    "optimal_scale",
    "prior_precision_step",
    "sgfs_covariance",
    "sgfs_preconditioner",
    "sgld_covariance",
    "stationary_covariance",
]
