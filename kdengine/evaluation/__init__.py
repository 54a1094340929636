"""Measuring a trained network: accuracy, calibration, cost, and its answer to single pictures."""
