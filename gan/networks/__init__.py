"""Small networks for small data, and what makes one's own a player.

A generator maps latents z `[n, latent_dim]` to samples, a critic maps samples to scores `[n, 1]` (or embeddings `[n,
k]` for a learned cost). Samples are vectors `[n, d]` or images `[n, c, h, w]`. Any module with an attribute
`latent_dim` is a generator; one with `num_classes` is conditional and is called with classes as well.

No batch normalisation anywhere: a gradient penalty needs a score that depends on one sample alone.
"""

from gan.networks.conditional import Concatenation, ConditionalGenerator, Projection
from gan.networks.convolutional import conv_critic, conv_generator
from gan.networks.generator import Generator, latent_dim, num_classes
from gan.networks.layers import Affine, FourierFeatures, MinibatchStd, Packed
from gan.networks.multilayer import mlp_critic, mlp_generator
from gan.networks.residual import residual_critic, residual_generator

__all__ = [
    "Affine",
    "Concatenation",
    "ConditionalGenerator",
    "FourierFeatures",
    "Generator",
    "MinibatchStd",
    "Packed",
    "Projection",
    "conv_critic",
    "conv_generator",
    "latent_dim",
    "mlp_critic",
    "mlp_generator",
    "num_classes",
    "residual_critic",
    "residual_generator",
]
