"""Inside autocast and inference mode: the numbers, and under autocast the gradients, of outside, to the bit."""

import pytest
import torch

import metrics
from metrics.kernels import Gaussian, Polynomial
from metrics.neighbours.screening import screened
from metrics.precision import full_precision, is_rounded, with_gradients

RANDOM = torch.Generator().manual_seed(0)
X, Y, Z = torch.randn(3, 40, 4, generator=RANDOM).unbind()
PROBS, LABELS = torch.randn(40, 3, generator=RANDOM).softmax(1), torch.randint(3, (40,), generator=RANDOM)
COV = torch.eye(4) + 0.1
SAMPLES = torch.randn(7, 40, generator=RANDOM)
CHAINS = torch.randn(4, 50, 2, generator=RANDOM)
WEIGHTS = tuple(torch.randn(*s, generator=RANDOM) for s in ((8, 4), (8,), (5, 8), (5,), (3, 5), (3,)))
PLAIN = [m for m in metrics.standard_measures() if m.rows[0].name != "sinkhorn_divergence"]

CLOUDS = {
    "mmd2": metrics.mmd2,
    "mmd2, polynomial": lambda x, y: metrics.mmd2(x, y, kernel=Polynomial()),
    "mmd2_variance": metrics.mmd2_variance,
    "energy_distance": metrics.energy_distance,
    "mmd_witness": lambda x, y: metrics.mmd_witness(Z, x, y),
    "frechet_distance": metrics.frechet_distance,
    "knn_kl": metrics.knn_kl,
    "features": lambda x, y: metrics.features.ImageClassifier("small", WEIGHTS)(x - y),
}


def streamed():
    distance = metrics.streaming.FrechetDistance()
    distance.update(real=X, fake=Y)
    return distance.compute()


def evaluated(x, y):
    report = metrics.evaluate(x, y, splits=2, permutations=9, measures=PLAIN)
    return torch.tensor([(e.value, e.stderr, e.p_value or 0) for e in report.estimates.values()])


OTHERS = {
    "vendi_score": lambda: metrics.vendi_score(X, kernel=Gaussian(1.0)),
    "gaussian_kl": lambda: metrics.gaussian_kl(X[0], COV, Y[0], 2 * COV),
    "bures_wasserstein": lambda: metrics.bures_wasserstein(X[0], COV, Y[0], 2 * COV),
    "entropic_gaussian_cost": lambda: metrics.entropic_gaussian_cost(X[0], COV, Y[0], 2 * COV, eps=0.1),
    "nn_accuracy": lambda: metrics.nearest_neighbour_accuracy(X, Y),
    "classifier test": lambda: metrics.classifier_two_sample_test(X, Y).accuracy,
    "memorisation": lambda: metrics.memorisation(X, train=Y, held_out=Z).nearer_train,
    "brier_score": lambda: metrics.brier_score(PROBS, LABELS),
    "calibration_error": lambda: metrics.calibration_error(PROBS, LABELS),
    "categorical_nll": lambda: metrics.categorical_nll(PROBS, LABELS),
    "crps_ensemble": lambda: metrics.crps_ensemble(SAMPLES, X[:, 0]),
    "energy_score": lambda: metrics.energy_score(SAMPLES[..., None].expand(-1, -1, 4), X),
    "interval_coverage": lambda: metrics.interval_coverage(SAMPLES, X[:, 0], level=0.5).score,
    "predictive_entropy": lambda: metrics.predictive_entropy(PROBS[None]),
    "effective_sample_size": lambda: metrics.effective_sample_size(CHAINS),
    "evaluate": lambda: evaluated(X, Y),
    "streaming": streamed,
}

MODES = {
    "bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "inference": torch.inference_mode,
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("name", [*CLOUDS, *OTHERS])
def test_numbers_are_those_of_outside(name, mode):
    call = OTHERS.get(name) or (lambda: CLOUDS[name](X, Y))
    outside = call()
    with mode():
        inside = call()
    assert torch.equal(inside, outside)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("measure", CLOUDS.values(), ids=CLOUDS)
def test_gradients_are_those_of_outside(measure, dtype):
    def gradient(on):
        x = X.clone().requires_grad_()
        with torch.autocast("cpu", dtype=dtype, enabled=on):
            value = measure(x, Y).sum()
        return torch.autograd.grad(value, x)[0]

    assert torch.equal(gradient(True), gradient(False))


def test_tensors_made_in_inference_mode_are_copied():
    with torch.inference_mode():
        inside = evaluated(X + 1, Y + 1)
    assert torch.equal(inside, evaluated(X + 1, Y + 1))


def test_the_modes_are_on_again_afterwards():
    def state():
        return torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled()

    look = full_precision(state)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        assert look() == (False, False)
        assert state() == (True, True)


@pytest.fixture
def _tf32():
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("_tf32")
def test_products_are_whole_inside_and_rounded_again_outside():
    """Whatever the processor makes of it: float32's own bits where they decide, the user's choice elsewhere."""

    @full_precision
    def inside(fails=False):
        if fails:
            raise KeyError
        return is_rounded()

    assert is_rounded()
    assert not inside()
    with pytest.raises(KeyError):
        inside(fails=True)
    assert with_gradients(is_rounded)(), "a training keeps the products that were chosen"
    assert (is_rounded(), torch.get_float32_matmul_precision()) == (True, "medium")


def test_the_setting_above_all_backends_counts_where_they_have_none():
    before = torch.backends.fp32_precision
    torch.backends.fp32_precision = "tf32"
    try:
        assert not full_precision(is_rounded)()
    finally:
        torch.backends.fp32_precision = before
    assert not is_rounded()


@pytest.mark.usefixtures("_tf32")
def test_neighbours_are_screened_in_float64_where_float32_is_rounded():
    x = torch.randn(300, 64, generator=torch.Generator().manual_seed(0))
    assert next(screened(x, x))[1].dtype == torch.float64
    torch.set_float32_matmul_precision("highest")
    assert next(screened(x, x))[1].dtype == torch.float32
