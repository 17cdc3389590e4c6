"""blackjax in `league.py`, by an interpreter that has it: `PYTHON league_jax.py NAMES --cases CASES --work DIR`.

Its gradient estimator owns N and the prior; its kernels run for all chains at once by `jax.vmap`. Numpy and blackjax
with jax are needed, torch is not.
"""

import argparse
import math
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)
INTEGRATION = 10
"""Steps of SGHMC's trajectory, by default."""
WARM_UP = 300
"""Of NUTS's window adaptation."""
Chain = Callable[[jax.Array, jax.Array, tuple[jax.Array, jax.Array]], jax.Array]
"""From a key, a position and data to a new position."""


def likelihood(p: SimpleNamespace, theta: jax.Array, datum: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Return log p(y | x, θ) of one datum, but for constants."""
    x, y = datum
    output = x @ theta
    if p.logistic:
        return y * output - jax.nn.softplus(output)
    return -0.5 * ((y - output) / p.sigma) ** 2


def prior(p: SimpleNamespace, theta: jax.Array) -> jax.Array:
    return -0.5 * p.precision * (theta**2).sum()


def walked(p: SimpleNamespace, seed: int, move: Chain, *, steps: float, gradients: int = 1) -> dict:
    """Burn in and keep draws, as `league_walk.walk` does; a move takes `gradients` of batches."""
    thin, burn = math.ceil(p.apart * steps), math.ceil(p.burn * steps)
    n, chains = p.x.shape[1], len(p.mode)
    own = np.arange(len(p.x))[:, None] * n
    x, y, own = jnp.asarray(p.x.reshape(-1, p.x.shape[-1])), jnp.asarray(p.y.reshape(-1)), jnp.asarray(own)

    def once(theta: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        picked, moved = jax.random.split(key)
        rows = own + jax.random.randint(picked, (chains, p.batch), 0, n)
        return jax.vmap(move)(jax.random.split(moved, chains), theta, (x[rows], y[rows])), None

    @partial(jax.jit, static_argnums=2)
    def some(theta: jax.Array, key: jax.Array, count: int) -> jax.Array:
        return jax.lax.scan(once, theta, jax.random.split(key, count))[0]

    first, *rest = jax.random.split(jax.random.PRNGKey(seed), p.draws + 1)
    theta = some(jnp.asarray(p.mode), first, burn)
    kept = []
    for key in rest:
        theta = some(theta, key, thin)
        kept.append(np.asarray(theta))
    total = burn + p.draws * thin
    return {"draws": np.stack(kept, 1), "passes": total * gradients * p.batch / n}


def estimator(p: SimpleNamespace) -> Callable:
    return blackjax.sgmcmc.gradients.grad_estimator(partial(prior, p), partial(likelihood, p), p.x.shape[1])


def sgld(p: SimpleNamespace, seed: int, *, step: float) -> dict:
    algorithm = blackjax.sgld(estimator(p))

    def move(key: jax.Array, theta: jax.Array, data: tuple) -> jax.Array:
        return algorithm.step(key, theta, data, step)

    return walked(p, seed, move, steps=p.slow / (step * p.x.shape[1]))


def sghmc(p: SimpleNamespace, seed: int, *, step: float) -> dict:
    """Velocities are drawn anew before every trajectory, which is then a Langevin step of (10·step)²/2."""
    algorithm = blackjax.sghmc(estimator(p))

    def move(key: jax.Array, theta: jax.Array, data: tuple) -> jax.Array:
        return algorithm.step(key, theta, data, step)

    steps = p.slow / ((INTEGRATION * step) ** 2 / 2 * p.x.shape[1])
    return walked(p, seed, move, steps=steps, gradients=INTEGRATION)


def nuts(p: SimpleNamespace, seed: int) -> dict:
    """Each chain adapts by itself; every second draw is kept."""

    def chain(key: jax.Array, theta: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        def density(t: jax.Array) -> jax.Array:
            return prior(p, t) + jax.vmap(partial(likelihood, p, t))((x, y)).sum()

        tuning, sampling = jax.random.split(key)
        adapt = blackjax.window_adaptation(blackjax.nuts, density)
        (state, tuned), _ = adapt.run(tuning, theta, num_steps=WARM_UP)
        kernel = blackjax.nuts(density, **tuned)

        def once(state: Any, key: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
            state, told = kernel.step(key, state)
            return state, (state.position, told.num_integration_steps)

        _, (positions, gradients) = jax.lax.scan(once, state, jax.random.split(sampling, 2 * p.draws))
        return positions[1::2], gradients.sum()

    keys = jax.random.split(jax.random.PRNGKey(seed), len(p.mode))
    shape = (len(p.mode), *p.x.shape[1:])
    x, y = jnp.broadcast_to(p.x, shape), jnp.broadcast_to(p.y, shape[:2])
    draws, gradients = jax.jit(jax.vmap(chain))(keys, jnp.asarray(p.mode), x, y)
    # The warm-up does not tell its gradients: it is counted at the sampler's own average.
    passes = float(gradients.mean()) * (1 + WARM_UP / (2 * p.draws))
    return {"draws": np.asarray(draws), "passes": passes}


CONTENDERS: dict[str, Callable[[SimpleNamespace, int], dict]] = {
    "blackjax-sgld-docs": lambda p, s: sgld(p, s, step=1e-3),
    "blackjax-sgld": lambda p, s: sgld(p, s, step=p.lr / p.x.shape[1]),
    "blackjax-sghmc-docs": lambda p, s: sghmc(p, s, step=1e-3),
    "blackjax-sghmc": lambda p, s: sghmc(p, s, step=math.sqrt(2 * p.lr / p.x.shape[1]) / INTEGRATION),
    "blackjax-nuts": nuts,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", choices=CONTENDERS, nargs="+")
    parser.add_argument("--cases", nargs="+", required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of problems and draws")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for name in given.names:
        for case in given.cases:
            kept = given.work / f"{name}-{case}.npz"
            if kept.is_file():
                continue
            with np.load(given.work / f"problem-{case}.npz") as held:
                p = SimpleNamespace(**{k: held[k] if held[k].ndim else held[k].item() for k in held.files})
            found = CONTENDERS[name](p, given.seed)
            np.savez(kept, **found, apart=np.nan, version=f"blackjax {version('blackjax')}")


if __name__ == "__main__":
    main()
