"""Optimal transport: exact, entropic and sliced."""
