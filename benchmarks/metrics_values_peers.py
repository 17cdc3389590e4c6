"""What `benchmarks/metrics_values.py` calls of peers beyond `metrics_peers.py`: our tensors in, our numbers out."""

import importlib.util
from importlib.metadata import distribution

import numpy as np
import torch
from metrics_peers import Numbers
from torch import Tensor

from metrics.kernels import Gaussian, Kernel, ProductLaplace

__all__ = [
    "agreed_kernels",
    "cleanfid_kid_of_all",
    "fidelity_isc_of_all",
    "fidelity_kid_of_all",
    "fidelity_mind",
    "mmdagg",
    "torchmetrics_isc",
    "torchmetrics_isc_of_all",
    "vendi_cosine",
    "vendi_dual",
    "vendi_gaussian",
    "vendi_gaussian_second",
]

RELABELLINGS = 2000


def fidelity_kid_of_all(x: Tensor, y: Tensor) -> Numbers:
    from torch_fidelity.metric_kid import kid_features_to_metric

    found = kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=len(x), verbose=False)
    return (found["kernel_inception_distance_mean"],)


def cleanfid_kid_of_all(x: Tensor, y: Tensor) -> Numbers:
    from cleanfid.fid import kernel_distance

    return (kernel_distance(x.numpy(), y.numpy(), num_subsets=1, max_subset_size=len(x)),)


def fidelity_mind(x: Tensor, y: Tensor) -> Numbers:
    """Call what its repository has since May 2026, and the package 0.4.0 has not."""
    from torch_fidelity.metric_mind import mind_features_to_metric

    found = mind_features_to_metric(x, y, mind_num_projections=1000, cuda=False, rng_seed=2020, verbose=False)
    return (found["monge_inception_distance"],)


def fidelity_isc_of_all(logits: Tensor) -> Numbers:
    from torch_fidelity.metric_isc import isc_features_to_metric

    return (isc_features_to_metric(logits, splits=1, shuffle=False)["inception_score_mean"],)


def torchmetrics_isc(logits: Tensor) -> Numbers:
    return _torchmetrics_isc(logits, splits=10)


def torchmetrics_isc_of_all(logits: Tensor) -> Numbers:
    return _torchmetrics_isc(logits, splits=1)[:1]


def _torchmetrics_isc(logits: Tensor, *, splits: int) -> Numbers:
    from torchmetrics.image.inception import InceptionScore

    score = InceptionScore(feature=torch.nn.Identity(), splits=splits)
    score.features = [logits]
    mean, std = score.compute()
    return float(mean), float(std)


def vendi_gaussian(x: Tensor) -> Numbers:
    from vendi_score.vendi import score_K

    return (float(score_K(_gaussian(x))),)


def vendi_gaussian_second(x: Tensor) -> Numbers:
    from vendi_score.vendi import score_K

    return (float(score_K(_gaussian(x), q=2)),)


def _gaussian(x: Tensor) -> np.ndarray:
    """The kernel exp(−r²/2d), of bandwidth √d."""
    return torch.exp(torch.cdist(x.double(), x.double()).square() / (-2 * x.shape[1])).numpy()


def vendi_cosine(x: Tensor) -> Numbers:
    from vendi_score.vendi import score_X

    return (float(score_X(x.numpy())),)


def vendi_dual(x: Tensor) -> Numbers:
    from vendi_score.vendi import score_dual

    return (float(score_dual(x.numpy())),)


def agreed_kernels(x: Tensor, y: Tensor) -> list[Kernel]:
    """Return what the authors' MMDAgg takes: from half the least to twice the largest distance of x to y, ten each."""
    found: list[Kernel] = []
    for p in (1.0, 2.0):
        r = torch.cdist(x[:500].double(), y[:500].double(), p=p)
        low, high = float(r.min()) / 2, float(r.max()) * 2
        bandwidths = [low * (high / low) ** (i / 9) for i in range(10)]
        # Their Gaussian is exp(−r²/λ²).
        found += [ProductLaplace(b) if p == 1 else Gaussian(b / 2**0.5) for b in bandwidths]
    return found


def mmdagg(x: Tensor, y: Tensor) -> Numbers:
    """Return whether the authors' test rejects at 5 %, and the mean p-value of its ten Laplace kernels.

    Their dictionary has the p-values of the Laplace kernels for those of the Gaussian ones as well. The NumPy file is
    loaded by itself: the package imports jax.
    """
    path = distribution("mmdagg").locate_file("mmdagg/np.py")
    spec = importlib.util.spec_from_file_location("mmdagg_np", str(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rejected, told = module.mmdagg(
        x.double().numpy(), y.double().numpy(), B1=RELABELLINGS, B2=RELABELLINGS, return_dictionary=True
    )
    singles = [told[f"Single test 1.{i}"]["p-value"] for i in range(1, 11)]
    return float(rejected), float(np.mean(singles))
