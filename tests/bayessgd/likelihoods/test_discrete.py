import pytest
import torch
from torch.func import vmap
from torch.nn import functional as nnf

from bayessgd.likelihoods import Bernoulli, Categorical, Weighted


def test_hard_labels_are_the_cross_entropy(gen, dtype):
    logits, labels = torch.randn(6, 4, dtype=dtype, generator=gen), torch.randint(4, (6,), generator=gen)
    found = Categorical().log_prob(logits, labels)
    torch.testing.assert_close(found, -nnf.cross_entropy(logits, labels, reduction="none"))


def test_soft_labels_are_the_cross_entropy(gen, dtype):
    logits, soft = torch.randn(6, 4, dtype=dtype, generator=gen), torch.rand(6, 4, dtype=dtype, generator=gen)
    soft = soft / soft.sum(1, keepdim=True)
    found = Categorical().log_prob(logits, soft)
    torch.testing.assert_close(found, -nnf.cross_entropy(logits, soft, reduction="none"))
    hard = torch.eye(4, dtype=dtype)[[0, 1, 2, 3, 0, 1]]
    torch.testing.assert_close(
        Categorical().log_prob(logits, hard), Categorical().log_prob(logits, hard.argmax(1))
    )


def test_several_labels_of_one_datum_add_up(gen):
    logits, labels = torch.randn(6, 5, 4, generator=gen), torch.randint(4, (6, 5), generator=gen)
    found = Categorical().log_prob(logits, labels)
    expected = -nnf.cross_entropy(logits.mT, labels, reduction="none").sum(1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(Categorical().log_prob(logits, torch.eye(4)[labels]), expected)


def test_law_of_the_label(gen):
    logits = torch.randn(6, 4, generator=gen)
    law = Categorical()(logits)
    assert law.batch_shape == (6,)
    torch.testing.assert_close(law.base_dist.probs, logits.softmax(1))


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 3)])
def test_bernoulli_is_the_binary_cross_entropy(shape, gen, dtype):
    logits = torch.randn(shape, dtype=dtype, generator=gen)
    for target in (torch.randint(2, shape, generator=gen), torch.rand(shape, dtype=dtype, generator=gen)):
        found = Bernoulli().log_prob(logits, target)
        each = -nnf.binary_cross_entropy_with_logits(logits, target.to(dtype), reduction="none")
        torch.testing.assert_close(found, each.reshape(6, -1).sum(1))
    assert Bernoulli()(logits).batch_shape == (6,)


def test_extreme_logits_stay_finite():
    assert Bernoulli().log_prob(torch.tensor([200.0]), torch.tensor([0.0])) == -200
    assert Categorical().log_prob(torch.tensor([[0.0, 300.0]]), torch.tensor([0])) == -300


def test_works_under_vmap(gen):
    logits, labels = torch.randn(7, 5, 3, generator=gen), torch.randint(3, (5,), generator=gen)
    found = vmap(lambda o: Categorical().log_prob(o, labels))(logits)
    torch.testing.assert_close(found[2], Categorical().log_prob(logits[2], labels))
    binary = vmap(lambda o: Bernoulli().log_prob(o[:, 0], labels.clamp(max=1)))(logits)
    torch.testing.assert_close(binary[2], Bernoulli().log_prob(logits[2, :, 0], labels.clamp(max=1)))


@pytest.mark.parametrize(
    ("likelihood", "output", "target", "error", "match"),
    [
        (
            Categorical(),
            torch.zeros(5),
            torch.zeros(5).long(),
            ValueError,
            r"output must have shape \[n, classes\]",
        ),
        (Categorical(), torch.zeros(5, 2), torch.zeros(5, 1).long(), ValueError, "without its classes"),
        (
            Categorical(),
            torch.zeros(5, 2),
            torch.zeros(5),
            ValueError,
            r"target must have the shape of the output, \[5, 2\]",
        ),
        (Categorical(), torch.zeros(5, 2), torch.zeros(5).int(), TypeError, "target must hold int64 labels"),
        (Categorical(), torch.zeros(5, 2), [0, 1], TypeError, "target must be a torch.Tensor"),
        (
            Categorical(),
            torch.zeros(5, 2).long(),
            torch.zeros(5).long(),
            TypeError,
            "output must be floating point",
        ),
        (
            Bernoulli(),
            torch.zeros(5, 1),
            torch.zeros(5),
            ValueError,
            "target must have the shape of the output",
        ),
        (Bernoulli(), torch.zeros(5), [0.0], TypeError, "target must be a torch.Tensor"),
        (
            Categorical(),
            torch.zeros(5, 1),
            torch.zeros(5).long(),
            ValueError,
            "at least 2 classes .* use Bernoulli",
        ),
    ],
)
def test_refusals(likelihood, output, target, error, match):
    with pytest.raises(error, match=match):
        likelihood.log_prob(output, target)


@pytest.mark.parametrize(
    ("output", "target", "match", "likelihood", "obeyed"),
    [
        (
            (6, 4),
            lambda y: torch.eye(4).long()[y],
            r"of one-hot labels pass target.argmax\(-1\)",
            Categorical(),
            (6,),
        ),
        ((6, 4), lambda y: y.double(), r"of labels pass target.long\(\)", Categorical(), (6,)),
        ((6, 4), lambda y: y[:, None], "reshape it", Categorical(), (6,)),
        ((6, 4, 5, 3), lambda y: y, r"take Categorical\(class_dim=1\)", Categorical(class_dim=1), (6, 5, 3)),
        ((6, 5, 4), lambda y: y.mT, "another order: permute them", Categorical(), (6, 5)),
    ],
)
def test_the_remedies_of_shapes_arrive_at_the_cross_entropy(output, target, match, likelihood, obeyed, gen):
    logits, y = torch.randn(output, generator=gen), torch.randint(3, obeyed, generator=gen)
    with pytest.raises(ValueError, match=match):
        Categorical().log_prob(logits, target(y))
    classes_second = logits if likelihood.class_dim == 1 else logits.movedim(-1, 1)
    truth = -nnf.cross_entropy(classes_second, y, reduction="none")
    torch.testing.assert_close(likelihood.log_prob(logits, y), truth.reshape(6, -1).sum(1))


def test_entries_without_a_label_are_left_out_as_the_refusal_says(gen):
    logits, y = torch.randn(6, 3, generator=gen), torch.randint(2, (6, 3), generator=gen)
    y[0, 1] = -100
    with pytest.raises(ValueError, match=r"leave out by Weighted\(Bernoulli\(\)\) and targets \(y, mask\)"):
        Bernoulli().check_targets(y)
    masked = Weighted(Bernoulli())
    masked.check_targets((y, y >= 0))
    each = -nnf.binary_cross_entropy_with_logits(logits, y.clamp(min=0).float(), reduction="none")
    torch.testing.assert_close(masked.log_prob(logits, (y, y >= 0)), (each * (y >= 0)).sum(1))
