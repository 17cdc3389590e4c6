"""Divergences measured by a fresh critic: trained for the measurement alone, and on other points than it measures.

A variational divergence is a supremum over critics,

    D(p‖q) = sup_v  E_p[a(v)] − E_q[b(v)],

so any one critic gives a lower bound, and on points that it has not seen the bound's estimate is unbiased (but for the
logarithm of a mean in Donsker and Varadhan's form, which adds about var(e^v) / (2m_k (E e^v)²)). The critic that a
generator was trained against is no judge of it, since the generator was made to please it. Here both clouds are cut
into K folds; for each a critic is trained on the others (a part of which stops the training where it no longer helps),
and measures on its own (cross-fitting: Chernozhukov et al. 2018, definition 3.1). The value is the mean over folds, and
its variance the sum over folds of var a/n_k + var b/m_k, over K².

A critic that has learned its few training points by heart is sure of what is not so, and its bound lies far below 0:
KL between a thousand digits of MNIST and a thousand others was −4.8 ± 1.3. So its log-ratio L is tempered, as a
classifier's logits are (Guo et al. 2017): s·L with s ∈ [0, 1] chosen, as the step is, by the points that stop the
training, where the value less its error is largest. s = 0 tells nothing apart and has the value 0, which the same
digits have with each of five seeds.

The f-divergences and Donsker and Varadhan's form of KL take any critic. W₁ needs slope 1 at most: spectral
normalisation (Miyato et al. 2018) with pairwise sorting in the rectifiers' place, which keeps the slope of what passes
(Anil, Lucas & Grosse 2019, section 4.2), and what exceeds 1 by exact singular values is divided out.
"""

import copy
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import vmap

from gan.losses.donsker_varadhan import DonskerVaradhan
from gan.losses.f_divergence import FDivergence
from gan.losses.wasserstein import Wasserstein
from gan.networks import mlp_critic
from gan.networks.initial import initialise
from gan.penalties import SpectralNorm
from gan.seeds import stream
from metrics import Estimate
from metrics.evaluating import evaluating
from metrics.inputs import check_count, check_pair, check_positive
from metrics.precision import full_precision

__all__ = ["fresh_divergence"]

Measurable = FDivergence | DonskerVaradhan | Wasserstein

WIDTH = 64
BATCH = 256
LOOK_EVERY = 25
STOPS_ON = 0.2
"""The share of a critic's training points that decides when it is best."""
TEMPERS = tuple(2.0 ** (-k / 2) for k in range(11))
"""The s of s·L that are tried, beside 0."""


@full_precision
def fresh_divergence(
    loss: object,
    *,
    real: Float[Tensor, "n d"],
    fake: Float[Tensor, "m d"],
    folds: int = 5,
    steps: int = 500,
    critic: Callable[[int], nn.Module] | None = None,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> Estimate:
    """Return the divergence of a loss between two clouds, by critics of its own, cross-fitted.

    In expectation a lower bound of the divergence, tight for rich critics with enough points to learn from; for
    `DonskerVaradhan` up to a bias upwards of order K/m. 0 ± 0 says that no critic told the clouds apart.

    Args:
        loss: An f-divergence, `DonskerVaradhan` or `Wasserstein`: `losses.KL()` gives KL(real‖fake) in nats,
            `losses.JensenShannon()` the Jensen–Shannon divergence in nats, `losses.Wasserstein()` W₁ in the data's
            unit.
        real: Points that no generator was trained on, [n, d], n ≥ 10·folds.
        fake: Generated points, [m, d], m ≥ 10·folds.
        folds: K.
        steps: At most so many steps of Adam for each of the K critics.
        critic: From a seed to a fresh network [n, d] → [n, 1] that is to learn log p/q of the standardised points; None
            for a multilayer one. Not for W₁, whose critics are built here.
        learning_rate: Adam's.
        seed: What folds, weights and batches are drawn from.

    Returns:
        The value and its standard error over fresh points, critics included as they are.

    Raises:
        TypeError: A loss that is no divergence of a critic.
        ValueError: Clouds that cannot be compared, too few points for the folds, no step.

    >>> from gan import losses
    >>> x = torch.randn(2, 200, 1, generator=torch.Generator().manual_seed(0))
    >>> found = fresh_divergence(losses.Wasserstein(), real=x[0], fake=x[1] + 3, folds=2, steps=100)
    >>> abs(found.value - 3) < 3 * found.stderr
    True
    """
    if isinstance(loss, str | type) or not isinstance(loss, Measurable):
        told, remedy = type(loss).__name__, "divergences of samples are measured by metrics, without a critic"
        if isinstance(loss, str):
            told, remedy = f"the name {loss!r}", f"write gan.losses.named({loss!r})"
        elif isinstance(loss, type):
            told, remedy = f"the class {loss.__name__}", f"write {loss.__name__}()"
        raise TypeError(
            f"loss must be an f-divergence, DonskerVaradhan or Wasserstein of gan.losses, got {told}; {remedy}"
        )
    check_pair(real, fake, ("real", "fake"))
    if isinstance(critic, nn.Module):
        raise TypeError(
            f"critic must be a function from a seed to a fresh network, got a {type(critic).__name__}; write "
            "critic=lambda seed: MyCritic()"
        )
    folds, steps = check_count(folds, "folds", least=2), check_count(steps, "steps")
    learning_rate = check_positive(learning_rate, "learning_rate")
    least = min(len(real), len(fake))
    if least < 10 * folds:
        raise ValueError(
            f"each cloud must hold at least 10 points a fold, {10 * folds}, got {least}; take "
            f"{'fewer folds' if least >= 20 else 'more points'}"
        )
    if isinstance(loss, Wasserstein) and critic is not None:
        raise ValueError("critic must be None for W₁, whose critics need slope 1; leave it out")
    x, y, unit = _standardised(real.detach(), fake.detach())
    random = stream("fresh critic", seed)
    parts = [torch.randperm(len(cloud), generator=random).to(cloud.device) % folds for cloud in (x, y)]
    make = _potential if isinstance(loss, Wasserstein) else _log_ratio
    values, variances, made = [], [], []
    for fold in range(folds):
        net = make(x.shape[1], 1000 * seed + fold) if critic is None else critic(1000 * seed + fold)
        made.append(_fresh(net, made))
        net = _Scores(net, loss).to(x)
        _train(net, loss, x[parts[0] != fold], y[parts[1] != fold], steps, learning_rate, random)
        value, variance = _measured(net, x[parts[0] == fold], y[parts[1] == fold])
        values.append(value)
        variances.append(variance)
    scale = unit if isinstance(loss, Wasserstein) else 1.0
    convention = f"{type(loss).__name__} by a fresh critic, {folds} folds"
    stderr = math.sqrt(sum(variances)) / folds
    return Estimate(scale * sum(values) / folds, scale * stderr, "lower", convention, (len(fake), len(real)))


def _fresh(net: object, before: list[nn.Module]) -> nn.Module:
    """Refuse a network that has learned from another fold already, which holds what it is now measured on."""
    if isinstance(net, nn.Module) and not any(net is other for other in before):
        return net
    told = "one for two folds" if isinstance(net, nn.Module) else type(net).__name__
    raise TypeError(
        f"critic must make a fresh network from each seed, got {told}; write critic=lambda seed: MyCritic()"
    )


def _standardised(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
    """Both clouds around the pooled mean, in units of the pooled root mean variance of a coordinate."""
    pooled = torch.cat([x, y]).double()
    mean = pooled.mean(0)
    # Squares of coordinates leave a type's range long before the coordinates do.
    largest = float((pooled - mean).abs().max()) or 1.0
    unit = largest * float(((pooled - mean) / largest).square().mean().sqrt()) or 1.0
    first, second = (((cloud.double() - mean) / unit).to(cloud.dtype) for cloud in (x, y))
    return first, second, unit


class _SortedPairs(nn.Module):
    """Each pair of numbers, the larger first: of slope 1 everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)


class _Scores(nn.Module):
    """A network of L = log p/q as the critic of an f-divergence, v(s·L): what is steep in v is then smooth in L."""

    def __init__(self, net: nn.Module, loss: Measurable) -> None:
        super().__init__()
        self.net, self.loss, self.temper = net, loss, 1.0
        one = torch.ones(1)
        # Total variation's best critic is infinite: there the network is the critic.
        self.mapped = isinstance(loss, FDivergence) and bool(loss.optimal_critic(one).isfinite().all())

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.net(x), self.temper)

    def scores(self, ratio: Tensor, temper: float) -> Tensor:
        """Return the critic's values of the network's L."""
        ratio = temper * ratio
        if not self.mapped:
            return ratio
        assert isinstance(self.loss, FDivergence)
        return self.loss.optimal_critic(ratio)

    @torch.no_grad()
    def tempered(self, x: Tensor, y: Tensor) -> tuple[float, float]:
        """Return how much is sure of the divergence of some points, its value less its error, for the best s; and s."""
        r, s = self.raw(x, y)
        best, temper = 0.0, 0.0
        for tried in TEMPERS:
            value, variance = _moments(self.loss, self.scores(r, tried), self.scores(s, tried))
            if value - math.sqrt(variance) > best:  # False for NaN
                best, temper = value - math.sqrt(variance), tried
        return best, temper

    def raw(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the network's values, in float64; for W₁ in units of its slope where that is above 1."""
        with evaluating(self):  # the vectors of spectral normalisation stay as they are
            r, s = self.net(x).double(), self.net(y).double()
        if not isinstance(self.loss, Wasserstein):
            return r, s
        slope = math.prod(
            float(torch.linalg.matrix_norm(layer.weight.double(), 2))
            for layer in self.modules()
            if isinstance(layer, nn.Linear)
        )
        return r / max(1.0, slope), s / max(1.0, slope)


def _log_ratio(d: int, seed: int) -> nn.Module:
    return mlp_critic(d, hidden=(WIDTH, WIDTH), seed=seed)


def _potential(d: int, seed: int) -> nn.Module:
    layers = [
        nn.Linear(d, WIDTH),
        _SortedPairs(),
        nn.Linear(WIDTH, WIDTH),
        _SortedPairs(),
        nn.Linear(WIDTH, 1),
    ]
    net = initialise(nn.Sequential(*layers), "fresh critic", seed)
    SpectralNorm().prepare(net)
    return net


@torch.enable_grad()
def _train(
    net: _Scores, loss: Measurable, x: Tensor, y: Tensor, steps: int, rate: float, random: torch.Generator
) -> None:
    """Train a critic; it ends as it was, and tempered, where the stopping points were surest of a divergence."""
    (stop_x, x), (stop_y, y) = (_split(cloud, random) for cloud in (x, y))
    adam = torch.optim.Adam(net.parameters(), lr=rate)
    best, temper, state = 0.0, 0.0, copy.deepcopy(net.state_dict())
    for step in range(1, steps + 1):
        i, j = (torch.randint(len(c), (min(BATCH, len(c)),), generator=random).to(c.device) for c in (x, y))
        # In one pass: batch normalisation of each cloud by itself would take their difference away.
        value = loss.critic_loss(*net(torch.cat([x[i], y[j]])).split([len(i), len(j)]))
        adam.zero_grad()
        value.backward()
        adam.step()
        if step % LOOK_EVERY == 0 or step == steps:
            found, chosen = net.tempered(stop_x, stop_y)
            if found > best:
                best, temper, state = found, chosen, copy.deepcopy(net.state_dict())
    net.load_state_dict(state)
    net.temper = temper


def _split(cloud: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    order = torch.randperm(len(cloud), generator=random).to(cloud.device)
    few = max(2, round(STOPS_ON * len(cloud)))
    return cloud[order[:few]], cloud[order[few:]]


@torch.no_grad()
def _measured(net: _Scores, x: Tensor, y: Tensor) -> tuple[float, float]:
    """The value on some points, and its variance over fresh points."""
    if net.temper == 0:
        return 0.0, 0.0  # without rounding
    return _moments(net.loss, *(net.scores(raw, net.temper) for raw in net.raw(x, y)))


def _moments(loss: Measurable, r: Tensor, s: Tensor) -> tuple[float, float]:
    """The divergence of a critic's values, and its variance over fresh points."""
    value = float(loss.divergence(r, s))
    if isinstance(loss, DonskerVaradhan):
        # The logarithm of a mean, by its slope.
        a, b = r, (s - s.logsumexp(0) + math.log(len(s))).exp()
    else:
        a, b = (
            vmap(lambda score: loss.divergence(score[None], s[:1]))(r),
            vmap(lambda score: loss.divergence(r[:1], score[None]))(s),
        )
    return value, float(a.var() / len(a) + b.var() / len(b))
