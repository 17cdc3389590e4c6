"""The tool that changes the source: what it changes, what it leaves alone, and that a sample is a sample."""

import ast

import mutants
import pytest


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a - b", ["a + b"]),
        ("a < b", ["a >= b"]),
        ("-a", ["a"]),
        ("x.sum().sqrt()", ["x.sum()"]),
        ("x.mT", ["x"]),
        ("x.mean(0)", ["x.sum(0)"]),
        ("2", ["3"]),
        ("0.5", ["1.0"]),
        ("True", ["False"]),
        ("name", []),
    ],
)
def test_what_could_be_another(before, after):
    node = ast.parse(before, mode="eval").body
    assert [ast.unparse(other) for other in mutants.mutations(node)] == after


def test_each_mutant_of_a_file_differs_in_one_place_and_messages_stay():
    found = mutants.mutants(mutants.ROOT / "metrics" / "transport" / "mind.py")
    whole = ast.unparse(ast.parse((mutants.ROOT / "metrics" / "transport" / "mind.py").read_text()))
    assert {"3 * x.shape[1] / root.square()", "3 / x.shape[1]"} <= {m.after for m in found}
    for mutant in found:
        assert sum(a != b for a, b in zip(whole.splitlines(), mutant.source.splitlines(), strict=True)) == 1


def test_a_longer_sample_begins_with_a_shorter_one_and_has_no_guards():
    short, longer = (mutants.sample("penalties", count, 3) for count in (5, 9))
    assert longer[:5] == short
    assert mutants.sample("penalties", 9, 4) != longer
    assert not any(m.guard for m in mutants.sample("penalties", 10**6, 0))


def test_the_page_counts_and_gives_reasons():
    said = [mutants.Verdict("a.py", 1, "1", "2", killed, 1.0) for killed in (True, True, False)]
    page = mutants.page({"room": said}, {"a.py: 1 → 2": "a colour"})
    assert "| room | 3 | 2 | 0.667, 0.208 to 0.939 |" in page
    assert "| a.py:1 | `1` → `2` | a colour |" in page
