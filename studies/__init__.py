"""Studies: the temperatures and loss weights of a method, tuned by Optuna, each trial a run like any other."""
