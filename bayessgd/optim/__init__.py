"""Samplers that add the noise torch lacks, as `torch.optim.Optimizer`s.

The loss handed to backward is always the mean negative log joint per datum. Constant SGD is
`torch.optim.SGD`.
"""

from bayessgd.optim.preconditioned import PreconditionedSGD
from bayessgd.optim.schedules import CyclicalSchedule
from bayessgd.optim.sgfs import SGFS
from bayessgd.optim.sghmc import SGHMC
from bayessgd.optim.sgld import SGLD, PreconditionedSGLD

__all__ = ["SGFS", "SGHMC", "SGLD", "CyclicalSchedule", "PreconditionedSGD", "PreconditionedSGLD"]
