"""What is lent to a network, and what may not look at it when it is gone."""

import threading

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import CheckpointFunction, checkpoint

from bayessgd import Chains, optimum, predict, snapshots
from bayessgd.likelihoods import Categorical, GaussianPrior, mean_negative_log_joint
from bayessgd.noise import per_example_gradients
from bayessgd.reference import nuts

LAWS = {"likelihood": Categorical(), "prior": GaussianPrior(2.0)}
X, Y = torch.linspace(-1, 1, 24).reshape(8, 3), torch.arange(8) % 2


class Checkpointed(nn.Module):
    """Which computes its activations again in the backward pass."""

    def __init__(self, reentrant=None):
        super().__init__()
        self.first, self.last, self.reentrant = nn.Linear(3, 4), nn.Linear(4, 2), reentrant

    def through(self, h):
        return self.last(torch.tanh(self.first(h)))

    def forward(self, x):
        if self.reentrant is None:
            return self.through(x)
        return checkpoint(self.through, x, use_reentrant=self.reentrant)


def elsewhere(net):
    return {name: (2 * p + 0.3).detach().requires_grad_() for name, p in net.named_parameters()}


def gradients(net, params):
    loss = mean_negative_log_joint(net, params, X, Y, **LAWS, num_data=8)
    return torch.autograd.grad(loss, list(params.values()))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_activations_that_would_be_recomputed_with_other_weights_are_refused(reentrant):
    net = Checkpointed(reentrant)
    run = {"lr": 0.1, "batch_size": 4, "passes": 4, "num_draws": 2, "progress": False}
    for job in (
        lambda: gradients(net, elsewhere(net)),
        lambda: per_example_gradients(net, cross_entropy, X, Y, params=elsewhere(net)),
        lambda: Chains(net, 2).loss(cross_entropy, X, Y, shared=True),
        lambda: snapshots(net, X, Y, **LAWS, **run),
        lambda: optimum(net, X, Y, **LAWS),
        lambda: nuts(net, X, Y, **LAWS, num_samples=4, num_chains=1, trace=False, progress=False),
    ):
        with pytest.raises(
            ValueError, match=r"^model must not recompute activations .*pass the network without it$"
        ):
            job()
    net.reentrant = None  # the remedy
    assert len(gradients(net, elsewhere(net))) == 4


def test_training_may_recompute_with_the_networks_own_weights_and_so_may_predictions():
    net, plain = Checkpointed(reentrant=False), Checkpointed()
    plain.load_state_dict(net.state_dict())
    own, others = (gradients(n, dict(n.named_parameters())) for n in (net, plain))
    for found, right in zip(own, others, strict=True):
        torch.testing.assert_close(found, right)
    law = Chains(net, 3).posterior()
    torch.testing.assert_close(predict(net, law, X), predict(plain, law, X))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_another_thread_trains_on_with_checkpoints_meanwhile():
    """The reentrant kind is refused through torch's own module, which all threads share."""
    net, x = Checkpointed(reentrant=True), X.clone().requires_grad_()
    found, lent, trained = {}, threading.Event(), threading.Event()

    class Waiting(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 3))

        def forward(self, x):
            lent.set()
            trained.wait(20)
            return x @ self.weight.T

    def lend():
        waiting = Waiting()
        found["lender"] = gradients(waiting, elsewhere(waiting))

    thread = threading.Thread(target=lend)
    thread.start()
    assert lent.wait(20)
    try:
        cross_entropy(net(x), Y).backward()
    finally:
        trained.set()
        thread.join()
    plain = Checkpointed()
    plain.load_state_dict(net.state_dict())
    cross_entropy(plain(X), Y).backward()
    torch.testing.assert_close(net.first.weight.grad, plain.first.weight.grad)
    assert len(found["lender"]) == 1
    assert torch.utils.checkpoint.CheckpointFunction is CheckpointFunction
