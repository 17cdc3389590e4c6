"""Samplers that add the noise torch lacks, as `torch.optim.Optimizer`s."""
