"""Studies: temperatures, loss weights and recipes tuned with Optuna over the fields of an experiment. Being built."""
