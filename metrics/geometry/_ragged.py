"""Rows of different lengths in one flat array: what the cells of a plane are kept in."""

import numpy as np


def counted(counts: np.ndarray) -> np.ndarray:
    """Concatenate the ranges 0 … c − 1.

    >>> counted(np.array([2, 0, 3]))
    array([0, 1, 0, 1, 2])
    """
    ends = counts.cumsum()
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)


def runs(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and lengths of the runs of equal entries.

    >>> runs(np.array([5, 5, 7]))
    (array([0, 2]), array([2, 1]))
    """
    if not len(keys):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    return starts, np.diff(np.r_[starts, len(keys)])


def pairs_within(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs i < j of entries of one row, for rows of these sizes one after the other.

    >>> pairs_within(np.array([2, 1, 2]))
    (array([0, 3]), array([1, 4]))
    """
    later = np.repeat(sizes, sizes) - 1 - counted(sizes)
    first = np.repeat(np.arange(len(later)), later)
    return first, first + 1 + counted(later)


def links(
    first: np.ndarray, last: np.ndarray, counts: np.ndarray, middle: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The links (from, to, chain) of chains first → middles → last; chain i has counts[i] middles.

    >>> links(np.array([0, 5]), np.array([1, 6]), np.array([2, 0]), np.array([8, 9]))
    (array([0, 8, 9, 5]), array([8, 9, 1, 6]), array([0, 0, 0, 1]))
    """
    ends = (counts + 1).cumsum()
    sources, targets = np.empty((2, ends[-1] if len(ends) else 0), np.int64)
    inside = np.ones(len(sources), bool)
    inside[ends - counts - 1] = False
    sources[ends - counts - 1], sources[inside] = first, middle
    inside[:] = True
    inside[ends - 1] = False
    targets[ends - 1], targets[inside] = last, middle
    return sources, targets, np.repeat(np.arange(len(first)), counts + 1)
