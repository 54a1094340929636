"""The machine under a run: its NVIDIA GPUs as the driver tells of them, which of them CUDA shows, how busy all is.

Asks NVML and the operating system; never torch, so that nobody who looks makes a CUDA context.
"""
