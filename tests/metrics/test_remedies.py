"""Each refusal's remedy, followed to the letter, gives the right number."""

from dataclasses import dataclass

import pytest
import torch

import metrics
from metrics import calibration_error, evaluate_predictions
from metrics.features import find_images, read_images


@dataclass
class Moments:
    """What predictions may be reduced to."""

    mean: torch.Tensor
    variance: torch.Tensor


def maps(gen):
    return torch.randn(4, 3, 5, 6, generator=gen).softmax(1), torch.randint(3, (4, 5, 6), generator=gen)


def by_hand(p, labels):
    """Rows collected pixel by pixel, without a reshape."""
    places = [(i, r, c) for i in range(4) for r in range(5) for c in range(6)]
    rows = torch.stack([p[i, :, r, c] for i, r, c in places])
    return rows, torch.stack([labels[i, r, c] for i, r, c in places])


def test_maps_are_refused_with_what_makes_rows_of_their_pixels(gen):
    p, labels = maps(gen)
    with pytest.raises(ValueError, match=r"probs.movedim\(1, -1\).flatten\(0, -2\), with labels.flatten\(\)"):
        calibration_error(p, labels)
    rows, flat = by_hand(p, labels)
    assert torch.equal(p.movedim(1, -1).flatten(0, -2), rows)
    assert torch.equal(labels.flatten(), flat)
    last = p.movedim(1, -1)
    with pytest.raises(ValueError, match=r"the points come in rows: probs.flatten\(0, -2\)"):
        calibration_error(last, labels)
    assert torch.equal(last.flatten(0, -2), rows)


def test_maps_of_one_dimension_are_refused_otherwise_than_draws(gen):
    draws = torch.randn(4, 6, 3, generator=gen).softmax(-1)
    with pytest.raises(ValueError, match=r"average them with probs.mean\(0\)"):
        calibration_error(draws, torch.zeros(6).long())
    with pytest.raises(ValueError, match=r"probs.movedim\(1, -1\)"):
        calibration_error(draws.transpose(1, 2), torch.zeros(4, 6).long())


def test_draws_of_maps_are_refused_with_what_makes_rows(gen):
    p, labels = maps(gen)
    draws = torch.stack([p, p.flip(0)])
    with pytest.raises(
        ValueError, match=r"y.flatten\(\), and of predictions: .*p.movedim\(2, -1\).flatten\(1, -2\)"
    ):
        evaluate_predictions({"a": draws}, labels)
    with pytest.raises(ValueError, match=r"a.movedim\(2, -1\).flatten\(1, -2\)"):
        evaluate_predictions({"a": draws}, labels.flatten())
    rows = draws.movedim(2, -1).flatten(1, -2)
    assert torch.equal(rows[0], by_hand(p, labels)[0])
    evaluate_predictions({"a": rows}, labels.flatten())


def test_ignored_labels_are_refused_with_how_to_leave_them_out(gen):
    p, labels = torch.randn(50, 3, generator=gen).softmax(-1), torch.randint(3, (50,), generator=gen)
    some = torch.where(torch.arange(50) < 9, -100, labels)
    with pytest.raises(ValueError, match=r"keep = labels != -100, of the predictions too"):
        calibration_error(p, some)
    keep = some != -100
    assert calibration_error(p[keep], some[keep]) == calibration_error(p[9:], labels[9:])


def test_labels_as_floats_beside_probabilities_of_class_1_are_refused(gen):
    p, y = torch.rand(4, 50, generator=gen), torch.rand(50, generator=gen) > 0.5
    several = torch.rand(4, 50, 3, generator=gen), torch.rand(50, 3, generator=gen) > 0.5
    for probabilities, labels in ((p, y), several, (p.numpy(), y)):
        with pytest.raises(
            TypeError, match=r"y must be bool or int64 for probabilities of class 1.*y.long\(\)"
        ):
            evaluate_predictions({"a": probabilities}, labels.float())
        told = evaluate_predictions({"a": probabilities}, labels.long()).reports["a"].estimates
        assert "nll" in told
    # Draws of 0 and 1 are draws of the target.
    assert "rmse" in evaluate_predictions({"a": (p > 0.5).float()}, y.float()).reports["a"].estimates


def test_a_mean_without_a_spread_is_refused(gen):
    mean, y = torch.randn(50, generator=gen), torch.randn(50, generator=gen)
    with pytest.raises(ValueError, match=r"got the shape of y, \[50\]; .*pass the pair \(mean, std\)"):
        evaluate_predictions({"a": mean}, y)
    evaluate_predictions({"a": (mean, torch.ones(50))}, y)


class DataFrame:
    """As pandas': its items are columns."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, column):
        return self.values[:, column]

    def to_numpy(self):
        return self.values


def nll(predictions, y):
    return evaluate_predictions(predictions, y).reports["predictions"]["nll"].value


def test_one_hot_labels_are_refused_beside_classes_and_not_beside_labels(gen):
    p, y = torch.randn(5, 40, 3, generator=gen).softmax(-1), torch.randint(3, (40,), generator=gen)
    one_hot = torch.eye(3).long()[y]
    with pytest.raises(ValueError, match=r"got one-hot labels \[40, 3\]; pass y.argmax\(1\)"):
        evaluate_predictions(p, one_hot)
    right = -p.mean(0)[torch.arange(40), y].log().mean()
    assert nll(p, one_hot.argmax(1)) == pytest.approx(float(right), rel=1e-5)
    each = torch.rand(5, 40, 3, generator=gen)  # three labels by themselves, of which one happens to be there
    came = torch.where(one_hot == 1, each.mean(0), 1 - each.mean(0))
    assert nll(each, one_hot) == pytest.approx(float(-came.log().mean()), rel=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_sequences_are_refused_with_what_makes_rows(classes, gen):
    p, y = torch.randn(5, 20, 4, classes, generator=gen).softmax(-1), torch.randint(2, (20, 4), generator=gen)
    with pytest.raises(ValueError, match=r"y.flatten\(\), and of predictions: p.flatten\(1, -2\)"):
        evaluate_predictions(p, y)
    right = -p.mean(0).gather(-1, y[..., None]).log().mean()
    assert nll(p.flatten(1, -2), y.flatten()) == pytest.approx(float(right), rel=1e-5)


def test_draws_of_counts_are_told_from_probabilities(gen):
    y, draws = torch.tensor([3, 0, 5]), torch.poisson(torch.full((50, 3), 3.0), generator=gen)
    with pytest.raises(ValueError, match=r"of draws of counts pass y.double\(\)"):
        evaluate_predictions(draws, y)
    found = evaluate_predictions(draws, y.double()).reports["predictions"]["rmse"].value
    assert found == pytest.approx(float((draws.double().mean(0) - y).square().mean().sqrt()), rel=1e-5)


def test_probabilities_that_no_softmax_made_are_refused_and_not_sent_through_one(gen):
    logits, y = 3 * torch.randn(50, 3, generator=gen), torch.randint(3, (50,), generator=gen)
    with pytest.raises(
        ValueError, match=r"the logits themselves through .softmax\(-1\), not sigmoids of them"
    ):
        calibration_error(logits.sigmoid(), y)
    calibration_error(logits.softmax(-1), y)
    draws, binary = torch.rand(7, 50, generator=gen), torch.randint(2, (50,), generator=gen)
    with pytest.raises(ValueError, match=r"p = probs.mean\(0\), torch.stack\(\[1 - p, p\], 1\)"):
        metrics.categorical_nll(draws, binary)
    p = draws.mean(0)
    right = -torch.where(binary == 1, p, 1 - p).log().mean()
    torch.testing.assert_close(metrics.categorical_nll(torch.stack([1 - p, p], 1), binary), right)


def test_distributions_of_classes_are_refused_with_their_probabilities(gen):
    p, y = torch.randn(5, 40, 3, generator=gen).softmax(-1), torch.randint(3, (40,), generator=gen)
    law = torch.distributions.Categorical(probs=p)
    with pytest.raises(TypeError, match=r"got Categorical; pass predictions.probs"):
        evaluate_predictions(law, y)
    assert nll(law.probs, y) == pytest.approx(nll(p, y), rel=1e-6)


def test_lists_of_tensors_and_moments_are_refused_with_what_to_pass(gen):
    p, y = torch.randn(5, 40, 3, generator=gen).softmax(-1), torch.randint(3, (40,), generator=gen)
    with pytest.raises(TypeError, match=r"torch.stack\(predictions\)"):
        evaluate_predictions(list(p), y)
    assert nll(torch.stack(list(p)), y) == nll(p, y)
    z = torch.randn(40, generator=gen)
    told = Moments(torch.zeros(40), 4 * torch.ones(40))
    with pytest.raises(TypeError, match=r"pass \(predictions.mean, predictions.variance.sqrt\(\)\)"):
        evaluate_predictions(told, z)
    right = -torch.distributions.Normal(0.0, 2.0).log_prob(z).mean()
    assert nll((told.mean, told.variance.sqrt()), z) == pytest.approx(float(right), rel=1e-5)


def test_a_data_frame_is_refused_and_its_numbers_are_not(gen):
    x, y = torch.randn(30, 2, generator=gen), torch.randn(30, 2, generator=gen)
    frame = DataFrame(x.numpy())
    chosen = [m for m in metrics.standard_measures() if m.rows[0].name == "mmd2"]
    with pytest.raises(TypeError, match=r"got DataFrame; pass \w+.to_numpy\(\)"):
        metrics.evaluate(frame, y, measures=chosen)
    with pytest.raises(TypeError, match=r"got DataFrame; pass y.to_numpy\(\)"):
        evaluate_predictions({"a": torch.rand(3, 30)}, frame)
    plain = metrics.evaluate(x, y, measures=chosen)["mmd2"]
    assert metrics.evaluate(frame.to_numpy(), y, measures=chosen)["mmd2"].value == plain.value


def test_a_folder_in_the_place_of_files_is_refused(tmp_path):
    for given in (tmp_path, str(tmp_path)):
        with pytest.raises(TypeError, match=r"of a folder pass find_images\(folder\)"):
            read_images(given)
    with pytest.raises(FileNotFoundError):
        read_images(find_images(tmp_path))


@pytest.mark.parametrize(
    "name",
    [
        "wasserstein",
        "sliced_wasserstein",
        "sinkhorn_divergence",
        "mmd2",
        "energy_distance",
        "frechet_distance",
    ],
)
def test_gradients_beside_a_cloud_made_in_inference_mode(gen, name):
    x, y = torch.randn(20, 2, generator=gen).requires_grad_(), torch.randn(25, 2, generator=gen)
    with torch.inference_mode():
        made = y + 0
    measure = getattr(metrics, name)
    expected = torch.autograd.grad(measure(x, y), x)[0]
    assert torch.equal(torch.autograd.grad(measure(x, made), x)[0], expected)
    assert torch.equal(torch.autograd.grad(measure(made, x), x)[0], torch.autograd.grad(measure(y, x), x)[0])
