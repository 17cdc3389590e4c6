"""Peers of `benchmarks/metrics_speed.py`: each takes our tensors and returns our numbers.

A peer imports its package when it is called, so that one that is not installed costs its own row only. Where a package
has the arithmetic behind a network (features, downloads), the arithmetic alone is called.
"""

import contextlib
import io

import numpy as np
import torch
from torch import Tensor

Numbers = tuple[float, ...]


def prdc(real: Tensor, fake: Tensor) -> Numbers:
    from prdc import compute_prdc

    with contextlib.redirect_stdout(io.StringIO()):
        found = compute_prdc(real.numpy(), fake.numpy(), 5)
    return tuple(float(found[name]) for name in ("precision", "recall", "density", "coverage"))


def scipy_frechet(mean_p: Tensor, cov_p: Tensor, mean_q: Tensor, cov_q: Tensor) -> Numbers:
    """Take the root of the product of the covariances, as the FID's first code and pytorch-fid do."""
    from scipy.linalg import sqrtm

    p, q = cov_p.numpy(), cov_q.numpy()
    trace = np.trace(p) + np.trace(q) - 2 * np.trace(sqrtm(p @ q).real)  # pyright: ignore[reportAttributeAccessIssue]
    return (float((mean_p - mean_q).square().sum()) + float(trace),)


def torchmetrics_frechet(x: Tensor, y: Tensor) -> Numbers:
    """Keep sums and sums of products in float64, as its FrechetInceptionDistance does, then its own last step."""
    from torchmetrics.image.fid import _compute_fid

    moments = []
    for cloud in (x, y):
        rows, n = cloud.double(), len(cloud)
        mean = rows.sum(0) / n
        moments += [mean, (rows.T @ rows - n * mean[:, None] * mean) / (n - 1)]
    return (float(_compute_fid(*moments)),)


def fidelity_frechet(x: Tensor, y: Tensor) -> Numbers:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    found = fid_statistics_to_metric(*map(fid_features_to_statistics, (x, y)), verbose=False)
    return (found["frechet_inception_distance"],)


def torchmetrics_kid(x: Tensor, y: Tensor) -> Numbers:
    """Call it as it comes: the mean over 100 random subsets of 1000."""
    kid = _kid(subsets=100, subset_size=1000)
    kid.real_features, kid.fake_features = [x], [y]
    return (float(kid.compute()[0]),)


def torchmetrics_kid_of_all(x: Tensor, y: Tensor) -> Numbers:
    """Let it take one subset, of everything: the statistic that ours is."""
    kid = _kid(subsets=1, subset_size=len(x))
    kid.real_features, kid.fake_features = [x], [y]
    return (float(kid.compute()[0]),)


def _kid(*, subsets: int, subset_size: int):
    from torchmetrics.image.kid import KernelInceptionDistance

    return KernelInceptionDistance(feature=torch.nn.Identity(), subsets=subsets, subset_size=subset_size)


def fidelity_kid(x: Tensor, y: Tensor) -> Numbers:
    from torch_fidelity.metric_kid import kid_features_to_metric

    found = kid_features_to_metric(x, y, kid_subsets=100, kid_subset_size=1000, verbose=False)
    return (found["kernel_inception_distance_mean"],)


def cleanfid_frechet(x: Tensor, y: Tensor) -> Numbers:
    from cleanfid.fid import frechet_distance

    moments = [(c.mean(0), np.cov(c, rowvar=False)) for c in (x.numpy(), y.numpy())]
    return (float(frechet_distance(*moments[0], *moments[1])),)


def fidelity_kid_of_subsets(x: Tensor, y: Tensor) -> Numbers:
    from torch_fidelity.metric_kid import kid_features_to_metric

    found = kid_features_to_metric(x, y, kid_subsets=20, kid_subset_size=1000, verbose=False)
    return (found["kernel_inception_distance_mean"],)


def torchmetrics_kid_of_subsets(x: Tensor, y: Tensor) -> Numbers:
    kid = _kid(subsets=20, subset_size=1000)
    kid.real_features, kid.fake_features = [x], [y]
    return (float(kid.compute()[0]),)


def cleanfid_kid(x: Tensor, y: Tensor) -> Numbers:
    from cleanfid.fid import kernel_distance

    np.random.seed(0)  # noqa: NPY002 - it draws from numpy's global generator
    return (kernel_distance(x.numpy(), y.numpy(), num_subsets=20, max_subset_size=1000),)


def fidelity_isc(logits: Tensor) -> Numbers:
    from torch_fidelity.metric_isc import isc_features_to_metric

    found = isc_features_to_metric(logits, splits=10, shuffle=False)
    return found["inception_score_mean"], found["inception_score_std"]


def fidelity_precision_recall(real: Tensor, fake: Tensor) -> Numbers:
    from torch_fidelity.metric_prc import prc_features_to_metric

    found = prc_features_to_metric(fake, real, prc_neighborhood=5, verbose=False)
    return found["precision"], found["recall"]


def vendi(x: Tensor) -> Numbers:
    from vendi_score.vendi import score_K

    return (float(score_K(torch.exp(-torch.cdist(x, x).square() / 2).numpy())),)


def torchmetrics_crps(samples: Tensor, y: Tensor) -> Numbers:
    from torchmetrics.functional.regression import continuous_ranked_probability_score

    return (float(continuous_ranked_probability_score(samples.T, y)),)


def scoringrules_crps(samples: Tensor, y: Tensor) -> Numbers:
    import scoringrules

    return (float(scoringrules.crps_ensemble(y.numpy(), samples.numpy(), m_axis=0).mean()),)


def scoringrules_energy(samples: Tensor, y: Tensor) -> Numbers:
    import scoringrules

    return (float(scoringrules.es_ensemble(y.numpy(), samples.numpy(), m_axis=0).mean()),)


def scoringrules_gaussian(mean: Tensor, std: Tensor, y: Tensor) -> Numbers:
    import scoringrules

    return (float(np.mean(scoringrules.crps_normal(y.numpy(), mean.numpy(), std.numpy()))),)


def torchmetrics_calibration(probs: Tensor, labels: Tensor) -> Numbers:
    from torchmetrics.functional.classification import multiclass_calibration_error

    return (float(multiclass_calibration_error(probs, labels, num_classes=probs.shape[1], n_bins=15)),)


def sklearn_brier(probs: Tensor, labels: Tensor) -> Numbers:
    from sklearn.metrics import brier_score_loss

    classes = range(probs.shape[1])
    return (brier_score_loss(labels.numpy(), probs.numpy(), labels=classes, scale_by_half=False),)  # pyright: ignore[reportArgumentType]


def sklearn_auroc(inside: Tensor, outside: Tensor) -> Numbers:
    from sklearn.metrics import roc_auc_score

    labels = np.repeat([0, 1], [len(inside), len(outside)])
    return (float(roc_auc_score(labels, torch.cat([inside, outside]).numpy())),)


def torchmetrics_auroc(inside: Tensor, outside: Tensor) -> Numbers:
    from torchmetrics.functional.classification import binary_auroc

    labels = torch.cat([torch.zeros(len(inside)), torch.ones(len(outside))]).long()
    # It takes scores outside of [0, 1] for logits.
    return (float(binary_auroc(torch.cat([inside, outside]), labels)),)


def scipy_energy(x: Tensor, y: Tensor) -> Numbers:
    from scipy.stats import energy_distance

    return (float(energy_distance(x[:, 0].numpy(), y[:, 0].numpy())),)


def scipy_wasserstein(x: Tensor, y: Tensor) -> Numbers:
    from scipy.stats import wasserstein_distance

    return (float(wasserstein_distance(x[:, 0].numpy(), y[:, 0].numpy())),)


def pot_wasserstein_line(x: Tensor, y: Tensor) -> Numbers:
    import ot

    return (float(ot.wasserstein_1d(x[:, 0].numpy(), y[:, 0].numpy(), p=1)),)  # pyright: ignore[reportArgumentType]


def pot_wasserstein(x: Tensor, y: Tensor) -> Numbers:
    import ot

    cost = ot.dist(x.double().numpy(), y.double().numpy())
    uniform = [np.full(len(cloud), 1 / len(cloud)) for cloud in (x, y)]
    return (float(ot.emd2(*uniform, cost, numItermax=10**7)) ** 0.5,)  # pyright: ignore[reportCallIssue]


def pot_sliced(x: Tensor, y: Tensor) -> Numbers:
    """Give it our directions: what is compared is the sorting."""
    import ot

    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(512, x.shape[1], dtype=torch.float64, generator=generator)
    directions = (normal / normal.norm(dim=1, keepdim=True)).T.numpy()
    a, b = x.double().numpy(), y.double().numpy()
    return (float(ot.sliced_wasserstein_distance(a, b, n_projections=512, projections=directions)),)  # pyright: ignore[reportArgumentType]


def sklearn_nearest(x: Tensor, y: Tensor) -> Numbers:
    from sklearn.neighbors import NearestNeighbors

    points = torch.cat([x, y]).numpy()
    label = np.repeat([0, 1], [len(x), len(y)])
    nearest = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(points).kneighbors(return_distance=False)
    right = label[nearest[:, 0]] == label
    return ((right[: len(x)].mean() + right[len(x) :].mean()) / 2,)


def pyro_chains(draws: Tensor) -> Numbers:
    from pyro.ops.stats import effective_sample_size, split_gelman_rubin

    return float(effective_sample_size(draws).mean()), float(split_gelman_rubin(draws).mean())


def arviz_chains(draws: Tensor) -> Numbers:
    import arviz

    data = {"w": draws.numpy()}
    ess, r_hat = arviz.ess(data, method="mean")["w"], arviz.rhat(data, method="split")["w"]  # pyright: ignore[reportIndexIssue]
    return float(ess.mean()), float(r_hat.mean())


def scoringrules_interval(samples: Tensor, y: Tensor) -> Numbers:
    import scoringrules

    lower, upper = np.quantile(samples.numpy(), [0.05, 0.95], axis=0, method="weibull")
    outcome = y.numpy()
    inside = (lower <= outcome) & (outcome <= upper)
    return float(inside.mean()), float(np.mean(scoringrules.interval_score(outcome, lower, upper, 0.1)))
