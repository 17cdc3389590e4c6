"""Measures of clouds of samples: one set for posteriors, generators and predictions."""
