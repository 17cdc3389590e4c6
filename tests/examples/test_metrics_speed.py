"""A table of peers against the one before: what slipped is found, what is noise is not."""

from metrics_speed import HEADER, slipped

ROW = "| `mmd2` | 10 × 2 | peer 1.2{version}, note | 1 | 2 | **{ratio}** ± {error} | > 1 | 1 / 1 | 0 |"


def table(ratio, error=0.01, version=""):
    return "\n".join([*HEADER, ROW.format(ratio=ratio, error=error, version=version)])


def test_a_ratio_that_fell_is_named():
    assert slipped(table(2.0), table(1.5)) == ["`mmd2` 10 × 2 peer, note: 1.5 ± 0.01, was 2"]


def test_versions_noise_and_small_changes_do_not_count():
    assert not slipped(table(2.0), table(1.7))
    assert not slipped(table(2.0), table(1.5, error=0.06))
    assert slipped(table(2.0), table(1.5, version=".1"))
    assert not slipped(table(2.0), "\n".join(HEADER))
