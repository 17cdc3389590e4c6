"""Hostile calls by the thousand: every public function of tensors, sizes, values and attacks drawn at random.

    python benchmarks/fuzz.py [--calls 20000] [--seed 0] [--out FILE]

The judges and attacks are those of `tests/hostile`. What is wrong is printed with its seed, so that
`--seed S --calls 1` repeats it.
"""

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.hostile import cases as valid
from tests.hostile.judges import JUDGES, arguments_of, tensors
from tests.hostile.objects import CHECKED, STEPS
from tests.hostile.right import MAY

SIZES = {
    "n": (6, 40),
    "d": (2, 9),
    "k": (2, 6),
    "p": (1, 9),
    "s": (6, 20),
    "classes": (2, 7),
    "samples": (2, 12),
}
SIZES |= {"batch": (1, 8), "chains": (2, 5), "draws": (8, 40)}
"""From the least to the most."""


def one(seed: int) -> tuple[str, str | None]:
    """The attack's family, and what is wrong."""
    draw = random.Random(seed)
    valid.SIZES.update({name: draw.randint(*ends) for name, ends in SIZES.items()})
    valid.SIZES["m"] = valid.SIZES["n"]
    family = draw.choice(list(JUDGES))
    functions = [*valid.CASES_BY_NAME.values(), *CHECKED, *(STEPS if family != "poison" else ())]
    case = draw.choice(functions)
    judge, attacks = JUDGES[family]
    try:
        parameter = draw.choice(list(tensors(arguments_of(case, seed))))
        kind = draw.choice(list(attacks))
        found = None if (case.name, kind) in MAY else judge(case, parameter, kind, seed)
    except AssertionError as error:
        return family, f"{case.name}: {error}"
    except Exception as error:
        return family, f"{case.name}: a valid call: {type(error).__name__}: {str(error)[:200]}"
    return family, f"{case.name}, {parameter} {kind}: {found}" if found else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    counts, failed, wrong, started = Counter(), Counter(), [], time.process_time()
    for seed in tqdm(range(given.seed, given.seed + given.calls)):
        family, said = one(seed)
        counts[family] += 1
        if said:
            failed[family] += 1
            wrong.append(f"seed {seed}: {said}")
            tqdm.write(wrong[-1])
    lines = ["# Hostile calls", "", "`python benchmarks/fuzz.py`, attacks and judges of `tests/hostile`.", ""]
    lines += ["| attack | calls | wrong |", "|---|---|---|"]
    for family in JUDGES:
        lines.append(f"| {family} | {counts[family]} | {failed[family]} |")
    lines += [
        "",
        f"{given.calls} calls in {time.process_time() - started:.0f} s of processor time; {len(wrong)} wrong.",
    ]
    text = "\n".join([*lines, "", *(f"- {w}" for w in wrong)]) + "\n"
    print(text)
    if given.out is not None:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
