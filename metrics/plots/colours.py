"""Colours that the colour-blind can tell apart (Okabe & Ito 2008), and markers that differ as well."""

__all__ = ["COLOURS", "MARKERS"]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
MARKERS = "osD^vP*X"
