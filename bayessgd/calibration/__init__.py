"""Width and shape of posteriors, from the loss: `calibrate`, `effective_temperature`, `potential`."""

from bayessgd.calibration.calibrate import calibrate
from bayessgd.calibration.held_out import Choice
from bayessgd.calibration.potential import potential
from bayessgd.calibration.result import Calibration
from bayessgd.calibration.temperature import Temperature, effective_temperature

__all__ = ["Calibration", "Choice", "Temperature", "calibrate", "effective_temperature", "potential"]
