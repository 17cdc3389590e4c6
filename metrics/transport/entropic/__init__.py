"""Entropic optimal transport: problems made standard, solvers, solutions."""
