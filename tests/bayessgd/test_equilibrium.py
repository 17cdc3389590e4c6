import torch

from bayessgd.equilibrium import Equilibrium, Thermometer


def estimate(value, stderr=0.01):
    return {"value": value, "stderr": stderr, "layers": {}}


def test_the_verdict_names_the_cause():
    fine, low, high, hot = estimate(1.0), estimate(0.6), estimate(1.5), estimate(1.6)
    assert Equilibrium(fine, fine).verdict(None) is None
    assert "run longer" in Equilibrium(low, fine).verdict(30.0)
    assert "here 30 passes" in Equilibrium(low, fine).verdict(30.0)
    assert "run longer" in Equilibrium(high, fine).verdict(None)
    # Batches that heat raise the virial as well: to run longer would be no remedy.
    assert "run longer" not in Equilibrium(high, hot).verdict(None)
    assert "halve lr" in Equilibrium(fine, hot).verdict(None)


def test_a_virial_that_is_not_known_well_is_no_verdict():
    assert Equilibrium(estimate(0.6, 0.3), estimate(1.0)).verdict(None) is None
    assert Equilibrium(estimate(0.6, None), estimate(1.0)).verdict(None) is not None


def test_both_are_one_for_draws_of_their_distributions():
    # θ − c ~ N(0, 1/(N·a)) with ∇L = a·(θ − c): N·E[(θ − c)·∇L] = 1; v ~ N(0, 2·lr·T/(N(1 + m))): 1.
    random = torch.Generator().manual_seed(0)
    n, a, lr, m, t = 50, 3.0, 0.01, 0.9, 0.5
    centre = torch.full((4, 1000), 7.0, dtype=torch.float64)
    thermometer = Thermometer({"w": centre})
    for _ in range(20):
        theta = centre + (t / (n * a)) ** 0.5 * torch.randn(4, 1000, generator=random, dtype=torch.float64)
        theta.grad = a * (theta - centre)
        thermometer.before([theta])
        v = (2 * lr * t / (n * (1 + m))) ** 0.5 * torch.randn(4, 1000, generator=random, dtype=torch.float64)
        thermometer.after([v], lr)
        thermometer.close()
    found = thermometer.read(num_data=n, momentum=m, temperature=t)
    for each in (found.virial, found.kinetic):
        assert abs(each["value"] - 1) < 5 * (2 / 80_000) ** 0.5
        assert each["layers"]["w"]["value"] == each["value"]
        assert 0.2 < each["stderr"] / (2 / 80_000) ** 0.5 < 5
