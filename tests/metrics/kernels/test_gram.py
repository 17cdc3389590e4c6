"""Kernels of one's own: what a measure needs of their matrices, by refusal and remedy."""

import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

import metrics
from metrics.kernels import Gaussian
from metrics.streaming import MMD

pytestmark = pytest.mark.usefixtures("unchecked")


def streamed(x, y, kernel):
    mmd = MMD(kernel=kernel)
    mmd.update(real=x, fake=y)
    return mmd.compute()


MEASURES = {
    "mmd2": lambda x, y, kernel: metrics.mmd2(x, y, kernel=kernel),
    "batch": lambda x, y, kernel: metrics.mmd2(x[None], y[None], kernel=kernel),
    "variance": lambda x, y, kernel: metrics.mmd2_variance(x, y, kernel=kernel),
    "witness": lambda x, y, kernel: metrics.mmd_witness(x[:3], x, y, kernel=kernel),
    "test": lambda x, y, kernel: metrics.aggregated_mmd_test(x, y, kernels=[kernel], relabellings=19).p_value,
    "vendi": lambda x, y, kernel: metrics.vendi_score(x, kernel=kernel),
    "streamed": streamed,
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_a_kernel_of_another_library_is_wrapped_as_the_refusal_says(measure, gen):
    x, y = torch.randn(2, 24, 3, generator=gen, dtype=torch.float64)

    def theirs(a, b):
        return rbf_kernel(a, b, gamma=0.5)

    with pytest.raises(TypeError, match=r"got ndarray; write lambda x, y: torch.as_tensor\(kernel\(x, y\)\)"):
        measure(x, y, theirs)
    found = measure(x, y, lambda a, b: torch.as_tensor(theirs(a, b)))
    torch.testing.assert_close(found, measure(x, y, Gaussian(1.0)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_what_is_no_matrix_of_all_pairs_is_refused(measure, gen):
    x, y = torch.randn(2, 24, 3, generator=gen, dtype=torch.float64)
    for kernel in (lambda a, b: a.sum(1), lambda a, b: (a @ b.mT).mean(), lambda a, b: torch.zeros(2, 3)):
        with pytest.raises(ValueError, match=r"kernel must return a matrix \[\d+, \d+\]"):
            measure(x, y, kernel)
    with pytest.raises(ValueError, match=r"kernel\(x, y\) must be finite, got \d+ NaN"):
        measure(x, y, lambda a, b: a @ b.mT / 0)
    with pytest.raises(TypeError, match=r"kernel must be an object, got the class Gaussian; write Gaussian"):
        measure(x, y, Gaussian)


def test_a_comparison_is_of_reports_by_name(gen):
    x, y = torch.randn(2, 24, 3, generator=gen)
    options = {"measures": {"gap": lambda a, b: (a.mean() - b.mean()).abs()}, "splits": 2, "permutations": 0}
    report = metrics.evaluate(x, y, progress=False, **options)
    for given, told in (
        ([report], "a mapping from names, got list"),
        ({1: report}, "got int and Report"),
        ({"a": report.to_dict()}, "got str and dict"),
    ):
        with pytest.raises(TypeError, match=f"reports must .*{told}"):
            metrics.Comparison(given)
    assert metrics.Comparison({"a": report}).measures() == ["gap"]
