"""What looks wrong to a judge and is right as it is."""

MAY: dict[tuple[str, str], str] = {
    ("predictions.quantile_calibration_error", "one dimension more"): "values of any shape",
    ("theory.discrete_lyapunov", "one dimension more"): "several noises at once",
    ("data.shift_images", "NaN"): "moves pixels, and looks at none: it runs in every step of a training",
    ("data.shift_images", "infinite"): "the same",
    ("data.shift_images", "minus infinite"): "the same",
    ("data.shift_images", "half"): "the same",
    ("data.shift_images", "flipped twice"): "a flipped batch meets other shifts",
    (
        "predictions.calibration_floor",
        "all alike",
    ): "its simulated labels are those of another stream in 32 bits",
    ("predictions.calibration_floor", "duplicates"): "the same",
    ("predictions.calibration_floor", "one row"): "the same",
}
"""By function and attack, with the reason."""
