"""Solvers called with the parts of a problem, and plans put together from their pieces."""

import torch

from metrics.transport.entropic.dense import solve_dense
from metrics.transport.entropic.problem import Goal, Problem
from metrics.transport.entropic.streaming import solve_streaming
from metrics.transport.entropic.symmetric import solve_symmetric


def pieces_of(pieces):
    return [(piece, piece.plan().clone()) for piece in pieces]


def solve(kernel, a, b, *, goal, max_iterations, start=None, wanted=pieces_of):
    return solve_dense(Problem(kernel, a, b, goal, max_iterations, wanted, start))


def solve_in_slabs(kernel, a, b, *, goal, max_iterations, start=None):
    return solve_streaming(Problem(kernel, a, b, goal, max_iterations, pieces_of, start))


def solve_self(kernel, a, *, tol, max_iterations, buffer, wanted=pieces_of):
    return solve_symmetric(Problem(kernel, a, a, Goal(tol), max_iterations, wanted), buffer=buffer)


def plan_of(found, n, m):
    """Whole, mirrored pieces put on both sides."""
    plan = torch.full((n, m), torch.nan, dtype=found.taken[0][1].dtype)
    for piece, part in found.taken:
        plan[piece.rows, piece.columns] = part
        if piece.mirrored:
            plan[piece.columns, piece.rows] = part.T
    return plan
