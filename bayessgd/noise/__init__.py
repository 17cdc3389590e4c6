"""The noise of the gradient and the curvature of the loss, from a plain `nn.Module` and a batch.

They are the C and the A of `bayessgd.theory`: `gradient_noise` measures C (mean, covariance, trace,
spectrum, the simple noise scale), `hessian` and `gauss_newton` give A as products, a matrix or a diagonal,
and `lanczos` its spectrum. `control_variate` makes a loss of batches whose noise vanishes at the optimum.
"""

from bayessgd.noise.control_variate import control_variate, control_variate_noise
from bayessgd.noise.curvature import Curvature, gauss_newton, hessian
from bayessgd.noise.gradient_noise import GradientNoise, gradient_noise
from bayessgd.noise.lanczos import Spectrum, lanczos
from bayessgd.noise.per_example import per_example_gradients

__all__ = [
    "Curvature",
    "GradientNoise",
    "Spectrum",
    "control_variate",
    "control_variate_noise",
    "gauss_newton",
    "gradient_noise",
    "hessian",
    "lanczos",
    "per_example_gradients",
]
