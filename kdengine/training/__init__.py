"""The training loop and its parts. It knows no method by name."""
