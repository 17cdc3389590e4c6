"""The page of `league.py`: its rows, what stands behind them, and its tables."""

from dataclasses import dataclass

__all__ = ["ROWS", "Row", "page"]


@dataclass(frozen=True)
class Row:
    """A contender: the peer that runs it (`None`: this package), and how the page names it."""

    key: str
    peer: str | None
    name: str
    settings: str


TU = "torch-uncertainty"
ROWS = [
    Row("ours-nuts", None, "NUTS (Pyro's, by `reference.nuts`)", "defaults"),
    Row("ours-exact", None, "SGD, exact preconditioner", "2(A + NC/S)⁻¹"),
    Row("ours-corrected", None, "SGD, corrected", ".05·A⁻¹ and the noise Q"),
    Row("ours-sgld", None, "SGLD", "lr"),
    Row("ours-sghmc", None, "SGHMC", "lr/10, m = .9"),
    Row("ours-sgd", None, "SGD", "ε*"),
    Row("ours-swag", None, "SWAG", "ε*, 100 snapshots, ½"),
    Row("tu-sgld-default", TU, "SGLD", "defaults"),
    Row("tu-sgld-recipe", TU, "SGLD", "its MNIST recipe"),
    Row("tu-sgld-tied", TU, "SGLD", "lr, noise 1/√N, decay τ/N"),
    Row("tu-sghmc-default", TU, "SGHMC", "defaults"),
    Row("tu-sghmc-recipe", TU, "SGHMC", "its MNIST recipe"),
    Row("tu-sghmc-tied", TU, "SGHMC", "noise 1/√N, decay τ/N"),
    Row("tu-swag-recipe", TU, "SWAG", "its MNIST recipe"),
    Row("tu-swag-optimal", TU, "SWAG", "ε*, 100 snapshots, scale 1"),
    Row("tu-swag-half", TU, "SWAG", "ε*, 100 snapshots, scale ½"),
    Row("posteriors-sgld-default", "posteriors", "SGLD", "lr, T = 1 (default)"),
    Row("posteriors-sgld", "posteriors", "SGLD", "lr, T = 1/N"),
    Row("posteriors-sghmc-default", "posteriors", "SGHMC", "T = 1/N, α = .01 (default)"),
    Row("posteriors-sghmc", "posteriors", "SGHMC", "T = 1/N, α as ours"),
    Row("posteriors-vi-readme", "posteriors", "VI, diagonal", "T = 1/N, Adam 1e-3, log sd from 0"),
    Row("posteriors-vi-tutorial", "posteriors", "VI, diagonal", "T = 1/N, Adam 1e-2, log sd from -2"),
    Row("laplace-default", "laplace", "Laplace, Kronecker", "σ = τ = 1 (default)"),
    Row("laplace-kron", "laplace", "Laplace, Kronecker", "σ, τ told"),
    Row("laplace-full", "laplace", "Laplace, full", "σ, τ told"),
    Row("ivon-default", "ivon", "IVON", "defaults, lr = .1"),
    Row("ivon-recipe", "ivon", "IVON", "β₂ = .999, decay τ/N"),
    Row("blackjax-sgld-docs", "blackjax", "SGLD", "step 1e-3"),
    Row("blackjax-sgld", "blackjax", "SGLD", "step lr/N"),
    Row("blackjax-sghmc-docs", "blackjax", "SGHMC", "step 1e-3"),
    Row("blackjax-sghmc", "blackjax", "SGHMC", "step √(2·lr/N)/10"),
    Row("blackjax-nuts", "blackjax", "NUTS", "window adaptation"),
]


WHY = """## Why

Files and lines are of the versions above; recipes are `experiments/classification/mnist/configs/lenet/*.yaml` of
torch-uncertainty's repository at 0.8.0.

- torch-uncertainty, SGLD: the noise is √(2·lr)·`noise_factor` with a default of .01 (`optim/sgld.py` 12, 57), so that
  on a mean loss the temperature is N·`noise_factor`², whatever N; 1/√N gives 1. `weight_decay` is 0 (13): no prior. The
  recipe keeps .01 and has a decay of 1e-5. Tied to N it is SGLD: with the same seeds, posteriors' chain.
- torch-uncertainty, SGHMC: the same factor and decay (`optim/sghmc.py` 14, 15); the variance of its noise before the
  factor is clamped from below at 1e-8/`noise_factor`² (100), 1e-4 at the defaults, which is more than the noise should
  be unless √V̂ < .1: how hot a weight is depends on the size of its gradients.
- torch-uncertainty, SWAG: `scale` is 1 (`methods/swag.py` 20) and multiplies all of diagonal plus low-rank covariance
  (192-199), where the paper has ½; the low-rank part is divided by max_num_models - 1 = 19 however few snapshots there
  are (196). With ½ it agrees with ours, and both have SGD's own shape. The recipe's rate is not chosen for a posterior,
  and batches shuffled by pass have noise that cancels.
- posteriors: `temperature` is 1 (`sgmcmc/sgld.py` 17, `sgmcmc/sghmc.py` 19, `vi/diag.py` 22), and its documentation
  wants a *mean* log posterior with temperature 1/N (`docs/log_posteriors.md`): who takes the first half of the advice
  alone samples N times the variance. SGHMC's friction α is .01 by default (`sgmcmc/sghmc.py` 16): the batches' noise,
  from which β = 0 (17) takes nothing off, is then not small beside the injected one. VI
  is a diagonal Gaussian of 6000 steps: at 1e-3 from a log sd of 0, as in the README, they end before it has converged;
  its tutorial (`docs/tutorials/visualizing_vi_sghmc.md`) has the other settings.
- laplace-torch: `sigma_noise` and `prior_precision` are 1 by default (`baselaplace.py` 122, 123), right in the
  simulations, whose σ and τ are 1; another σ must be told. All weights, not the last layer, for the logistic model,
  where a Kronecker product averages p(1 - p) and xxᵀ apart and misses that they depend on each other. Laplace's mean is
  the mode.
- ivon-opt: h₀ = 1, β₂ = .99999 and a weight decay of 1e-4 (`_ivon.py` 28, 30, 31): the Hessian needs 10⁵ steps to
  leave h₀, so that after 6000 the variance is about 1/(N·h₀); the prior's precision is N·1e-4. β₂ = .999 is the default
  of its authors' experiments. A diagonal Gaussian.
- blackjax: its estimator multiplies by N and adds the prior (`sgmcmc/gradients.py` 67), T is 1: nothing to tie. A step
  of 1e-3, its docstrings' example, is 1e-3·N on the scale of a mean loss. SGHMC moves the position before the momentum
  (`sgmcmc/diffusions.py` 72-74) and draws momenta anew before every trajectory of L = 10 steps (`sgmcmc/sghmc.py` 52):
  the noise moves it by Lε, the force by L(L - 1)ε²/2 and not L²ε²/2, so that the variance is L/(L - 1) of the
  posterior's, 5 % of a standard deviation, however small the step is (derived here).
"""

HEAD = """# Who samples the posterior

{machine}. {versions}.

Chains start at the mode, see iid batches and keep draws 1.5 (simulations) or 1 relaxation times of the slowest
direction apart; † a chain cut at 20 000 steps: its draws are closer, and with few relaxation times in all it is short
of equilibrium, as a user's chain of that length would be. *Passes* are gradients of single data over N, of one chain or
fit; fits of Laplace start from a mode that is not counted. *lr* is one for all who can choose it: on
a mean loss, where the batches' noise adds 5 % of the variance, lr·N·C/(2S). *ε\\** is the rate of Mandt, Hoffman &
Blei, with S = {small}. *T* is the temperature, τ the prior's precision, S the batch size.
"""

FIRST = """## Simulations

A conjugate regression, N = 100, D = 3, S = 50, prior N(0, 1), σ = 1; {count} simulations (NUTS of `reference.nuts`:
the first 100). Ranks among 63 draws: χ² in 16 bins, the smallest p-value of three coefficients times three. The last
column is the root mean square of standard deviations over the exact ones, with all draws of one simulation. ± is one
standard error.

| package | method | settings | passes | p-value of uniform ranks | 90 % interval covers | sd over exact | calibrated |
|---|---|---|---|---|---|---|---|"""

SECOND = """## {name}

N = {n}, D = 8, S = {batch}; {chains} chains or fits, {draws} draws of each (`reference.nuts`: 2 × 1000). {truth}
Standard deviations over the exact ones: smallest and largest weight, geometric mean, largest standard error (the
deviations are of draws of all runs together); then the largest shift of a mean, in standard deviations.

| package | method | settings | passes | sd, weights | mean | s.e. | shift of a mean | within 10 % |
|---|---|---|---|---|---|---|---|---|"""


def page(scores: dict, cases: list, truths: dict, machine: str) -> str:
    """Return the whole page."""
    first, *others = cases
    versions = ", ".join(dict.fromkeys(score["version"] for score in scores.values()))
    small = f"{first.problem.small} (simulations) and {others[0].problem.small}"
    lines = [HEAD.format(machine=machine, versions=versions, small=small), conclusion(scores, cases), ""]
    lines.append(FIRST.format(count=first.problem.chains))
    found = [(row, scores[row.key][first.name]) for row in ROWS if first.name in scores.get(row.key, {})]
    lines += [f"| {named(row)} | {passes(told)} | {simulated(told)} |" for row, told in found]
    for case in others:
        p = case.problem
        error = float((truths[case.name].std_error / truths[case.name].std).max())
        truth = "The exact ones are in closed form."
        if error:
            truth = f"The exact ones are by importance sampling, to {100 * error:.1f} %."
        words = {"name": case.name.capitalize(), "n": p.num_data, "batch": p.batch, "chains": p.chains}
        lines += ["", SECOND.format(**words, draws=p.draws, truth=truth)]
        found = [(row, scores[row.key][case.name]) for row in ROWS if case.name in scores.get(row.key, {})]
        lines += [f"| {named(row)} | {passes(told)} | {regressed(told)} |" for row, told in found]
    return "\n".join([*lines, "", WHY])


def named(row: Row) -> str:
    return f"{row.peer or 'bayessgd'} | {row.name} | {row.settings}"


def passes(told: dict) -> str:
    return f"{told['passes']:,.0f}{'' if told['apart'] != told['apart'] else ' †'}"


def simulated(told: dict) -> str:
    p = f"{told['p']:.3f}" if told["p"] >= 1e-3 else "< .001"
    covers = f"{told['coverage']:.3f} ± {told['coverage_error']:.3f}"
    return (
        f"{p} | {covers} | {told['sd']:.3f} ± {told['sd_error']:.3f} | {'yes' if calibrated(told) else 'no'}"
    )


def regressed(told: dict) -> str:
    if "diverged" in told:
        return "diverged | | | | no"
    shift = f"{told['shift']:+.2f} ± {told['shift_error']:.2f}"
    span = f"{told['low']:.3f} – {told['high']:.3f} | {told['mean']:.3f} | {told['sd_error']:.3f}"
    return f"{span} | {shift} | {'yes' if within(told) else 'no'}"


def calibrated(told: dict) -> bool:
    """Uniform ranks are not rejected at 1 %."""
    return told["p"] >= 0.01


def within(told: dict) -> bool:
    """All standard deviations are within [.9, 1.1], or outside by less than two errors."""
    if "diverged" in told:
        return False
    low, high, error = told["low"], told["high"], 2 * told["sd_error"]
    return low + error >= 0.9 and high - error <= 1.1


def conclusion(scores: dict, cases: list) -> str:
    """Sort the contenders by how many of the three they pass."""
    first, *others = (case.name for case in cases)
    sorted_rows: dict[int, list[str]] = {}
    scored = set()
    for row in ROWS:
        score = scores.get(row.key, {})
        if all(name in score for name in (first, *others)):
            scored.add(row.key)
            passed = calibrated(score[first]) + sum(within(score[name]) for name in others)
            sorted_rows.setdefault(passed, []).append(f"{row.peer or 'bayessgd'} {row.name} ({row.settings})")
    told = ["all three", "two of three", "one of three", "none"]
    parts = [f"- **{told[3 - k]}**: {'; '.join(sorted_rows[k])}." for k in sorted(sorted_rows, reverse=True)]
    missing = [
        f"{row.peer or 'bayessgd'} {row.name} ({row.settings})" for row in ROWS if row.key not in scored
    ]
    if missing:
        parts += [
            "",
            f"Not run on all three: {'; '.join(missing)}. [Ours alone](sbc.md) has more simulations.",
        ]
    rule = (
        "Three examinations: ranks not rejected at 1 %; every standard deviation within 10 % of the exact one, or "
        "outside by less than two standard errors, on diabetes and on breast cancer. Who passes"
    )
    return "\n".join([f"{rule}", "", *parts])
