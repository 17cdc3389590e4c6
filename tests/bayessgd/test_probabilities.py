"""A softmax taken twice is told; networks that give logits, or log probabilities, are not suspected."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

import bayessgd
from bayessgd import Ensemble
from bayessgd.likelihoods import Bernoulli, Categorical, Weighted
from bayessgd.posteriors import LowRankGaussian
from bayessgd.priors import GaussianPrior

X = torch.linspace(-1, 1, 40)[:, None].expand(40, 2) + torch.tensor([0.0, 0.3])
LABELS = (torch.arange(40) % 3).long()
TWICE = "the model's outputs are probabilities: their softmax is taken once more"


class Softmaxed(nn.Linear):
    def forward(self, input):
        return functional.softmax(super().forward(input), -1)


def gaussian(net):
    named = {name: p.detach() for name, p in net.named_parameters()}
    return LowRankGaussian(named, {name: torch.full_like(p, 1e-3) for name, p in named.items()})


RUNS = {
    "calibrate": lambda net, laws: bayessgd.calibrate(net, gaussian(net), X, LABELS, **laws),
    "optimum": lambda net, laws: bayessgd.optimum(net, X, LABELS, **laws),
    "snapshots": lambda net, laws: bayessgd.snapshots(
        net, X, LABELS, **laws, lr=0.01, batch_size=10, passes=3, num_draws=2, progress=False
    ),
    "nuts": lambda net, laws: bayessgd.reference.nuts(
        net, X, LABELS, **laws, num_samples=4, num_warmup=4, num_chains=1, progress=False
    ),
}


def said(run, net, likelihood):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        RUNS[run](net, {"likelihood": likelihood, "prior": GaussianPrior(1.0)})
    return [str(w.message) for w in found if "takes logits" in str(w.message)]


@pytest.mark.parametrize("run", RUNS)
def test_a_softmax_before_the_likelihood_is_told_once(run):
    assert len([w for w in said(run, Softmaxed(2, 3), Categorical()) if TWICE in w]) == 1
    assert not said(run, nn.Linear(2, 3), Categorical())


def test_log_probabilities_are_logits():
    assert not said("calibrate", nn.Sequential(nn.Linear(2, 3), nn.LogSoftmax(-1)), Categorical())


def test_the_classes_may_lie_elsewhere_and_weights_before_the_likelihood():
    net = nn.Sequential(nn.Unflatten(1, (2, 1)), nn.Conv1d(2, 3, 1), nn.Softmax(1))
    laws = {"likelihood": Weighted(Categorical(class_dim=1)), "prior": GaussianPrior(1.0)}
    with pytest.warns(UserWarning, match=TWICE):
        bayessgd.calibrate(net, gaussian(net), X, (LABELS[:, None], torch.ones(40)), **laws)


def test_a_sigmoid_before_bernoulli_is_told():
    net, y = nn.Sequential(nn.Linear(2, 1), nn.Sigmoid()), torch.ones(40, 1)
    laws = {"likelihood": Bernoulli(), "prior": GaussianPrior(1.0)}
    with pytest.warns(UserWarning, match=r"the model ends with nn.Sigmoid"):
        bayessgd.calibrate(net, gaussian(net), X, y, **laws)


def test_a_gate_that_is_registered_last_is_no_output():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(2, 1)
            self.gate = nn.Sigmoid()

        def forward(self, x):
            return 4 * self.line(x) * self.gate(x[:, :1])

    torch.manual_seed(0)
    net, y = Gated(), torch.ones(40, 1)
    laws = {"likelihood": Bernoulli(), "prior": GaussianPrior(1.0)}
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        bayessgd.calibrate(net, gaussian(net), X, y, **laws)
    assert not [w for w in found if "takes logits" in str(w.message)]


def test_the_mean_of_probabilities_is_told_what_it_is():
    net = Softmaxed(2, 3)
    bank = Ensemble({name: p.detach().expand(4, *p.shape) for name, p in net.named_parameters()})
    with pytest.warns(UserWarning, match=r"reduce=lambda p: p for their mean"):
        bayessgd.predict(net, bank, X, reduce="mean_probs")
    assert torch.allclose(bayessgd.predict(net, bank, X, reduce=lambda p: p), net(X).detach())


@pytest.mark.parametrize(
    "y",
    [functional.one_hot(LABELS, 3).float() * 2, -functional.one_hot(LABELS, 3).float(), torch.ones(40, 3)],
    ids=["counts", "negative", "several"],
)
def test_soft_labels_that_are_no_distributions_are_refused(y):
    net = nn.Linear(2, 3)
    laws = {"likelihood": Categorical(), "prior": GaussianPrior(1.0)}
    with pytest.raises(ValueError, match="for several labels of one datum take Bernoulli"):
        bayessgd.calibrate(net, gaussian(net), X, y, **laws)


def test_soft_labels_of_zeros_are_left_out_as_ignored_labels_are():
    hard = LABELS.clone()
    hard[:7] = -100
    soft = functional.one_hot(LABELS, 3).float()
    soft[:7] = 0
    logits = nn.Linear(2, 3)(X)
    Categorical().check_targets(soft)
    assert torch.allclose(Categorical().log_prob(logits, soft), Categorical().log_prob(logits, hard))


@pytest.mark.parametrize("weights", [{0: 1.0, 1: 2.0}, 2.0, "12"])
def test_class_weights_that_are_not_a_list_are_refused(weights):
    with pytest.raises(TypeError, match="class_weights must be numbers, one for each class"):
        Categorical(class_weights=weights)
