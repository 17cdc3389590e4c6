"""The noise of the gradient and the curvature of the loss, from a plain `nn.Module` and a batch.

They are the C and the A of `bayessgd.theory`: `gradient_noise` measures C (mean, covariance, trace,
spectrum, the simple noise scale), `hessian` and `gauss_newton` give A as products, a matrix or a diagonal,
and `lanczos` its spectrum.
"""

from bayessgd.noise.curvature import Curvature, gauss_newton, hessian
from bayessgd.noise.gradient_noise import GradientNoise, gradient_noise
from bayessgd.noise.lanczos import Spectrum, lanczos
from bayessgd.noise.per_example import per_example_gradients

__all__ = [
    "Curvature",
    "GradientNoise",
    "Spectrum",
    "gauss_newton",
    "gradient_noise",
    "hessian",
    "lanczos",
    "per_example_gradients",
]
