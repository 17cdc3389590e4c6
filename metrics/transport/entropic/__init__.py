"""Entropic optimal transport: problems made standard, solvers, solutions."""

__all__: list[str] = []
