"""Penalties: what keeps a critic v smooth, apart from the loss it is trained by.

    gradient penalty    λ E(‖∇v(x̂)‖ − 1)², x̂ = αx + (1−α)G(z), α ~ U[0, 1]   Gulrajani et al. 2017, eq. 3
    one-sided ("LP")    λ E max(0, ‖∇v(x̂)‖ − 1)²                              Petzka et al. 2018
    DRAGAN              λ E(‖∇v(x + δ)‖ − 1)², δ a Gaussian                   Kodali et al. 2017
    R1, R2              γ/2 E‖∇v‖² on real, on generated samples              Mescheder et al. 2018, eq. 9
    weight clipping     every parameter into [−c, c]                          Arjovsky et al. 2017
    spectral norm       every weight divided by its largest singular value    Miyato et al. 2018

Every ∇ is the gradient of one score by the one sample that it scores: the norm is taken *per sample* and α is
drawn *per sample*. One backward pass gives all of them, ∇Σᵢv(xᵢ) having ∇v(xᵢ) as its rows, provided that v
scores each sample alone; batch normalisation breaks that, and these penalties with it. A critic that scores a
pack of m samples (`gan.networks.Packed`) has one gradient a pack.
"""

from gan.penalties.gradients import DRAGAN, R1, R2, GradientPenalty, input_gradients, refuse_batch_norm
from gan.penalties.penalty import Penalty
from gan.penalties.weights import SpectralNorm, WeightClipping

__all__ = [
    "DRAGAN",
    "R1",
    "R2",
    "GradientPenalty",
    "Penalty",
    "SpectralNorm",
    "WeightClipping",
    "input_gradients",
    "refuse_batch_norm",
]
