"""The machine under a run: its processor, its NVIDIA GPUs as the driver lists them, and how busy all is.

Asks NVML and the operating system; never torch, so that nobody who looks makes a CUDA context.
"""
