import math
import warnings

import jaxtyping
import pytest
import torch
from torch import nn

from bayessgd import reference
from bayessgd._flat_potential import FlatPotential
from bayessgd.likelihoods import Categorical, Gaussian, GaussianLogScale, LearnedScale
from bayessgd.params import flatten
from bayessgd.priors import FlatPrior, GaussianPrior
from metrics.chains import effective_sample_size


def data(n=40, d=2, seed=0, noise=0.5):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=random, dtype=torch.float64)
    y = x @ torch.arange(1.0, d + 1, dtype=torch.float64)[:, None]
    return x, y + noise * torch.randn(n, 1, generator=random, dtype=torch.float64)


def line(d=2):
    net = nn.Linear(d, 1, bias=False).double()
    nn.init.zeros_(net.weight)
    return net


QUICK = {"num_samples": 300, "num_chains": 2, "num_warmup": 60, "progress": False}


@pytest.fixture(scope="module")
def conjugate():
    jaxtyping.config.update("jaxtyping_disable", True)  # along the chain; a test sets it anew
    x, y = data()
    laws = {"likelihood": Gaussian(0.5), "prior": GaussianPrior(2.0)}
    posterior = reference.nuts(line(), x, y, **laws, **QUICK)
    precision = x.T @ x / 0.25 + 2 * torch.eye(2, dtype=torch.float64)
    return posterior, torch.linalg.solve(precision, x.T @ y / 0.25)[:, 0], torch.linalg.inv(precision)


def test_a_conjugate_posterior_is_found(conjugate):
    posterior, mean, cov = conjugate
    w = posterior.draws["weight"][:, 0]
    ess = effective_sample_size(posterior.by_chain()["weight"])[0]
    # Five standard errors of a mean and of a variance, whose own draws count about half as much.
    assert ((w.mean(0) - mean).abs() < 5 * (cov.diagonal() / ess).sqrt()).all()
    assert ((w.var(0) / cov.diagonal() - 1).abs() < 5 * (4 / ess).sqrt()).all()
    assert (
        abs(float(torch.corrcoef(w.T)[0, 1] - cov[0, 1] / (cov[0, 0] * cov[1, 1]).sqrt()))
        < 5 / float(ess.min()) ** 0.5
    )


def test_the_origin_tells_cost_and_convergence(conjugate):
    posterior = conjugate[0]
    origin = posterior.origin
    assert posterior.chains == 2
    assert posterior.by_chain()["weight"].shape == (2, 300, 1, 2)
    assert origin["sampler"] == "NUTS"
    assert origin["divergences"] == 0
    assert origin["max_r_hat"] < 1.01
    assert origin["min_ess"] > 200
    # At least one gradient per draw and per chain, and no more than a tree of depth 10 has.
    assert 2 * 360 < origin["gradient_evaluations"] < 2 * 360 * 1024


@pytest.mark.usefixtures("unchecked")
def test_a_learned_noise_has_its_marginal_law():
    # y ~ N(0, σ²) with p(log σ) flat: Σy²/σ² ~ χ²(N), so that E log σ² = log Σy² − ψ(N/2) − log 2.
    n = 30
    y = data(n)[1]
    net = LearnedScale(nn.Linear(2, 1).double())
    for p in net.model.parameters():
        nn.init.zeros_(p).requires_grad_(False)
    laws = {"likelihood": GaussianLogScale(), "prior": FlatPrior()}
    posterior = reference.nuts(net, torch.zeros(n, 2, dtype=torch.float64), y, **laws, **QUICK)
    draws = 2 * posterior.draws["log_scale"][:, 0]
    truth = math.log(float(y.square().sum())) - float(torch.digamma(torch.tensor(n / 2))) - math.log(2)
    stderr = math.sqrt(float(torch.polygamma(1, torch.tensor(n / 2))) / posterior.origin["min_ess"])
    assert list(posterior.draws) == ["log_scale"]
    assert abs(float(draws.mean()) - truth) < 5 * stderr


@pytest.mark.parametrize("trace", [True, False])
def test_seeds_give_the_same_bits_and_leave_the_global_generator(trace):
    x, y = data(10)
    laws = {"likelihood": Gaussian(0.5), "prior": GaussianPrior(1.0), "trace": trace}
    few = {"num_samples": 6, "num_warmup": 6, "num_chains": 2, "progress": False}
    net, before = line().train(), torch.random.get_rng_state()
    with pytest.warns(UserWarning, match="effective sample size"):
        first, again, other = (reference.nuts(net, x, y, **laws, **few, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.draws["weight"], again.draws["weight"])
    assert not torch.equal(first.draws["weight"], other.draws["weight"])
    assert not torch.equal(*first.by_chain()["weight"])
    assert net.training
    assert not net.weight.any()


def test_the_traced_gradient_is_the_modules_own():
    x, y = data(12)
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Dropout(0.5), nn.Linear(3, 3)).double().eval()
    labels = y[:, 0].gt(0).long()
    like = {k: p.detach() for k, p in net.named_parameters()}
    arguments = (net, like, x, labels, Categorical(), GaussianPrior(3.0))
    flat = flatten(like)
    plain = FlatPotential(*arguments, trace=False, output=None)._both(flat)
    traced = FlatPotential(*arguments, trace=True, output=None)._both(flat + 0)
    moved = flat + 0.3  # not the point that was traced
    again = FlatPotential(*arguments, trace=True, output=None)._both(moved)
    torch.testing.assert_close(traced, plain)
    torch.testing.assert_close(again, FlatPotential(*arguments, trace=False, output=None)._both(moved))


def test_a_gradient_that_cannot_be_traced_is_taken_as_it_is():
    class Checked(GaussianPrior):
        def log_prob(self, params):
            return torch.distributions.Normal(0.0, 0.5**0.5).log_prob(params["weight"]).sum()

    x, y = data()
    laws = {"likelihood": Gaussian(0.5), "prior": Checked(2.0)}
    few = {"num_samples": 4, "num_chains": 1, "num_warmup": 4, "progress": False}
    with (
        pytest.warns(UserWarning, match="NUTS ended"),
        pytest.warns(UserWarning, match="cannot be traced"),
    ):
        reference.nuts(line(), x, y, **laws, **few)


class Counted(nn.Linear):
    """A model whose code can change behind the same words."""

    factor = 1.0

    def forward(self, x):
        return self.factor * super().forward(x)


@pytest.fixture
def kept(tmp_path):
    x, y = data(10)
    net = Counted(2, 1, bias=False).double()
    nn.init.zeros_(net.weight)
    laws = {"likelihood": Gaussian(0.5), "prior": GaussianPrior(1.0)}
    few = {"num_samples": 6, "num_warmup": 6, "num_chains": 1, "progress": False, "cache": tmp_path}

    def run(**changed):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="NUTS ended with")
            return reference.nuts(net, x, y, **{**laws, **few, **changed})

    return run


def test_what_was_paid_for_is_read_back(kept, monkeypatch):
    first = kept()

    def refuse(*_, **__):
        raise AssertionError("sampled again")

    monkeypatch.setattr(reference, "_sampled", refuse)
    again = kept()
    assert torch.equal(first.draws["weight"], again.draws["weight"])
    assert again.origin == first.origin
    with pytest.raises(AssertionError, match="sampled again"):
        kept(prior=GaussianPrior(1.5))
    with pytest.raises(AssertionError, match="sampled again"):
        kept(seed=1)


def test_draws_of_changed_code_are_not_believed(kept, monkeypatch):
    first = kept()
    monkeypatch.setattr(Counted, "factor", 1.01)
    with pytest.warns(UserWarning, match="another density"):
        again = kept()
    assert not torch.equal(first.draws["weight"], again.draws["weight"])


def test_a_damaged_cache_is_made_anew(kept, tmp_path):
    first = kept()
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:50])
    with pytest.warns(UserWarning, match="cannot be read"):
        again = kept()
    assert torch.equal(first.draws["weight"], again.draws["weight"])


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"num_samples": 2}, ValueError, "num_samples must be at least 4"),
        ({"num_chains": 0}, ValueError, "num_chains must be at least 1"),
        ({"target_accept": 1.0}, ValueError, "target_accept must be between 0 and 1"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"max_tree_depth": 2.5}, TypeError, "max_tree_depth must be an int"),
        ({"jitter": 1e200}, ValueError, "start of chain 0 must have a finite density"),
        ({"jitter": "wide"}, TypeError, "jitter must be a number, got str"),
        ({"likelihood": 3}, TypeError, "likelihood must be one of bayessgd.likelihoods, got int"),
        ({"prior": torch.zeros(1)}, TypeError, "prior must be one of bayessgd.priors, got Tensor"),
    ],
)
def test_refusals(kept, changed, error, message):
    with pytest.raises(error, match=message):
        kept(**changed)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        ([[1.0, 2.0]], torch.ones(1, 1), TypeError, r"x must be a torch\.Tensor, got list"),
        (torch.ones(1, 2), [1.0], TypeError, r"y must be a torch\.Tensor, got list"),
        (
            torch.ones(0, 2),
            torch.ones(0, 1),
            ValueError,
            r"x must have shape \[n, \.\.\.\] with n ≥ 1, got \[0, 2\]",
        ),
        (
            torch.ones(3, 2),
            torch.tensor(1.0),
            ValueError,
            r"y must have shape \[n, \.\.\.\] with n ≥ 1, got \[\]",
        ),
        (torch.ones(3, 2), torch.ones(2, 1), ValueError, "must have the same length, got 3 and 2"),
        (
            torch.full((3, 2), math.nan),
            torch.ones(3, 1),
            ValueError,
            "x must be finite, got 6 NaN or infinite",
        ),
        (
            torch.ones(2, 2),
            torch.tensor([[1.0], [math.inf]]),
            ValueError,
            "y must be finite, got 1 NaN or infinite",
        ),
    ],
)
def test_refusals_of_data(x, y, error, message):
    laws = {"likelihood": Gaussian(0.5), "prior": GaussianPrior(1.0)}
    with pytest.raises(error, match=message):
        reference.nuts(line().float(), x, y, **laws, progress=False)


def test_refusals_of_the_model_itself_are_not_blamed_on_the_trace():
    x, y = (t.float() for t in data(4))
    with pytest.raises(RuntimeError, match="same dtype"):
        reference.nuts(line(), x, y, likelihood=Gaussian(0.5), prior=GaussianPrior(1.0), progress=False)


def test_refusal_of_a_model_that_diverged():
    net = line()
    nn.init.constant_(net.weight, math.nan)
    with pytest.raises(ValueError, match="model must have finite parameters"):
        reference.nuts(net, *data(4), likelihood=Gaussian(0.5), prior=GaussianPrior(1.0), progress=False)


def test_a_compiled_layer_has_the_bare_names():
    (x, y), quick = (
        data(),
        {"num_samples": 4, "num_chains": 1, "num_warmup": 4, "progress": False, "trace": False},
    )
    laws = {"likelihood": Gaussian(0.5), "prior": GaussianPrior(2.0)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few draws
        nets = nn.Sequential(line()), nn.Sequential(torch.compile(line(), backend="eager"))
        bare, found = (reference.nuts(net, x, y, **laws, **quick).draws["0.weight"] for net in nets)
    torch.testing.assert_close(found, bare)
