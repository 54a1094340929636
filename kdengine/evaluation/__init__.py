"""Measuring a trained network: accuracy, calibration, cost, and its prediction for single images."""
