"""Measuring leaves no trace in the process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kdengine.training import checkpoint


@contextmanager
def no_trace() -> Iterator[None]:
    """Sets everything back that building, seeding and measuring change in this process."""
    random = checkpoint.random_states()
    threads = torch.get_num_threads()
    switches = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    deterministic = torch.are_deterministic_algorithms_enabled()
    workspace_config = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    try:
        yield
    finally:
        checkpoint.restore_random_states(random)
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = (
            switches
        )
        torch.use_deterministic_algorithms(deterministic)
        if workspace_config is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
