import pytest
import torch
from sklearn.linear_model import LogisticRegression

from metrics.predictions import VectorScaling


def test_two_classes_are_a_logistic_regression():
    random = torch.Generator().manual_seed(0)
    p = 0.02 + 0.96 * torch.rand(4000, generator=random, dtype=torch.float64)
    labels = (torch.rand(4000, generator=random, dtype=torch.float64) < p**2).long()
    probs = torch.stack([1 - p, p], 1)
    scaling = VectorScaling(ridge=1e-6).fit(probs, labels)
    z = probs.log().numpy()
    model = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(z, labels.numpy())
    # ln q₁/q₀ = w₁z₁ − w₀z₀ + b₁ − b₀ is what a logistic regression on z has.
    assert model.predict_proba(z)[:, 1] == pytest.approx(scaling(probs)[:, 1].numpy(), abs=1e-5)


def test_the_truth_is_found_and_separable_data_have_an_answer():
    random = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(20000, 3, generator=random, dtype=torch.float64)
    log_p = logits.log_softmax(1)
    w, b = (
        torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64),
        torch.tensor([0.5, 0.0, -0.5], dtype=torch.float64),
    )
    labels = torch.multinomial((w * log_p + b).softmax(1), 1, generator=random)[:, 0]
    scaling = VectorScaling().fit(log_p.exp(), labels)
    assert scaling.weight is not None
    assert float((scaling.weight - w).abs().max()) < 0.1
    probs = log_p.exp()
    sure = VectorScaling().fit(probs, probs.argmax(1))(probs)
    assert bool(sure.isfinite().all())
    assert float((sure.argmax(1) == probs.argmax(1)).double().mean()) > 0.99


def test_refusals():
    with pytest.raises(ValueError, match="call fit"):
        VectorScaling()(torch.tensor([[0.5, 0.5]]))
    fitted = VectorScaling().fit(torch.tensor([[0.5, 0.5]] * 4), torch.tensor([0, 1, 1, 0]))
    with pytest.raises(ValueError, match="the 2 classes that were fitted, got 3"):
        fitted(torch.full((1, 3), 1 / 3))
    with pytest.raises(ValueError, match="ridge must be finite and above 0"):
        VectorScaling(ridge=0.0)
