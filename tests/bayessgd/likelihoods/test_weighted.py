import pytest
import torch
from torch.nn.functional import cross_entropy

from bayessgd.likelihoods import Bernoulli, Categorical, Gaussian, GaussianLogScale, Weighted


def test_ignored_labels_are_those_of_cross_entropy(gen):
    logits = torch.randn(6, 5, 4, generator=gen, dtype=torch.float64)
    y = torch.randint(4, (6, 5), generator=gen)
    y[2:, 3:] = -100
    y[0] = -100
    truth = -cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").unflatten(0, (6, 5)).sum(1)
    torch.testing.assert_close(Categorical().log_prob(logits, y), truth)
    assert Categorical().log_prob(logits, y)[0] == 0
    other = y.masked_fill(y == -100, 9)
    torch.testing.assert_close(Categorical(ignore_index=9).log_prob(logits, other), truth)


def test_gradients_of_ignored_labels_are_zero(gen):
    logits = torch.randn(2, 3, 4, generator=gen).requires_grad_()
    Categorical().log_prob(logits, torch.tensor([[0, -100, 1], [-100, 2, 3]])).sum().backward()
    assert not logits.grad[0, 1].any()
    assert logits.grad[0, 0].any()


def test_class_weights_are_those_of_cross_entropy(gen):
    logits = torch.randn(6, 3, generator=gen)
    y, w = torch.randint(3, (6,), generator=gen), torch.tensor([1.0, 2.0, 0.5])
    truth = -cross_entropy(logits, y, weight=w, reduction="none")
    torch.testing.assert_close(Categorical(class_weights=w).log_prob(logits, y), truth)
    soft = torch.eye(3)[y]
    torch.testing.assert_close(Categorical(class_weights=[1.0, 2.0, 0.5]).log_prob(logits, soft), truth)


def test_classes_in_dimension_one_are_those_of_cross_entropy(gen):
    # Square maps with as many classes as rows: nothing in the shapes tells the two readings apart.
    logits = torch.randn(2, 4, 4, 4, generator=gen)
    y = torch.randint(4, (2, 4, 4), generator=gen)
    truth = -cross_entropy(logits, y, reduction="none").flatten(1).sum(1)
    torch.testing.assert_close(Categorical(class_dim=1).log_prob(logits, y), truth)
    assert float((Categorical().log_prob(logits, y) - truth).abs().max()) > 0.1
    torch.testing.assert_close(
        Categorical(class_dim=1)(logits).base_dist.probs, logits.softmax(1).movedim(1, -1)
    )


def test_a_scale_for_each_output(gen):
    f, y = torch.randn(4, 3, generator=gen), torch.randn(4, 3, generator=gen)
    scale = torch.tensor([0.5, 1.0, 3.0])
    truth = torch.distributions.Normal(f, scale).log_prob(y).sum(1)
    for given in (scale, (0.5, 1.0, 3.0), [0.5, 1.0, 3.0]):
        torch.testing.assert_close(Gaussian(given).log_prob(f, y), truth)
        assert Gaussian(given) == Gaussian((0.5, 1.0, 3.0))


@pytest.mark.parametrize("likelihood", [Gaussian(2.0), GaussianLogScale(), Bernoulli(), Categorical()])
def test_weights_of_data_and_of_entries(likelihood, gen):
    f = torch.randn(5, 3, 2, generator=gen)
    y = torch.rand(5, 3, 1 if isinstance(likelihood, GaussianLogScale) else 2, generator=gen)
    y = torch.randint(2, (5, 3), generator=gen) if isinstance(likelihood, Categorical) else y
    alone = likelihood.log_prob(f, y)
    w = torch.rand(5, generator=gen)
    torch.testing.assert_close(Weighted(likelihood).log_prob(f, (y, w)), w * alone)
    mask = torch.rand(y.shape, generator=gen) < 0.5
    terms = likelihood.terms(f, y)
    assert terms.shape == y.shape
    torch.testing.assert_close(terms.flatten(1).sum(1), alone)
    masked = Weighted(likelihood).log_prob(f, (y, mask))
    torch.testing.assert_close(masked, (terms * mask).flatten(1).sum(1))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: Categorical().log_prob(torch.zeros(2, 3), torch.tensor([0, 3])),
            ValueError,
            "labels 0 to 2, or -100",
        ),
        (
            lambda: Categorical().log_prob(torch.zeros(2, 3), torch.tensor([0, -1])),
            ValueError,
            "pass ignore_index=",
        ),
        (
            lambda: Categorical(class_weights=[1.0]).log_prob(torch.zeros(2, 3), torch.tensor([0, 1])),
            ValueError,
            "3 classes, got 1",
        ),
        (lambda: Categorical(class_weights=[-1.0]), ValueError, "class_weights must be"),
        (lambda: Categorical(class_dim=1.0), TypeError, "class_dim must be an int, got float"),
        (lambda: Categorical(class_dim=0)(torch.zeros(2, 3)), ValueError, "after the first, got 0"),
        (lambda: Categorical(ignore_index=None), TypeError, "ignore_index must be an int"),
        (lambda: Gaussian((1.0, 2.0))(torch.zeros(2, 3)), ValueError, "one number for each output.*got 2"),
        (lambda: Gaussian((1.0, -2.0)), ValueError, "scale must be"),
        (lambda: Gaussian(torch.ones(2, 2)), TypeError, "scale must be"),
        (lambda: Weighted("x"), TypeError, "likelihood must be one of"),
        (
            lambda: Weighted(Gaussian(1.0)).log_prob(torch.zeros(2, 1), torch.zeros(2, 1)),
            TypeError,
            r"a pair \(y, weights\)",
        ),
        (
            lambda: Weighted(Gaussian(1.0)).log_prob(
                torch.zeros(2, 3), (torch.zeros(2, 3), torch.ones(2, 1))
            ),
            ValueError,
            r"that of the targets, \[2, 3\], got \[2, 1\]",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_remedy_for_an_unknown_label_is_obeyed():
    found = Categorical(ignore_index=-1).log_prob(torch.zeros(2, 3), torch.tensor([0, -1]))
    torch.testing.assert_close(found, torch.tensor([-1.0986123, 0.0]))
