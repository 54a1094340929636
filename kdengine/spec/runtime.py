"""Where and how a run computes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    field_validator,
)
from pydantic_core import PydanticCustomError

from kdengine.spec.fields import Settings, setting


class RuntimeSpec(Settings):
    """Where and how it computes; only ``precision`` is part of what decides the result."""

    device: str = setting(
        "auto",
        title="Device",
        advanced=True,
        description="auto, cpu, cuda or cuda:<n>; auto takes a GPU when there is one.",
    )
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16", "bf16_teacher"] = setting(
        "auto",
        title="Precision",
        advanced=True,
        description="auto: bf16 on GPUs that have it, fp16 on older ones, fp32 on a CPU. tf32: fp32 with products by "
        "tensor cores, on GPUs from Ampere on. bf16_teacher: the teacher alone, on a CPU with AMX twice as fast.",
    )
    threads: int | None = setting(
        None,
        title="CPU threads",
        ge=1,
        le=512,
        advanced=True,
        description="Threads of one run; empty: OMP_NUM_THREADS, else all cores.",
    )
    workers: int | None = setting(
        None,
        title="Reading processes",
        ge=0,
        le=64,
        advanced=True,
        description="Read ahead what is too large to stay on the device; empty: none on a CPU, up to 4 on a GPU.",
    )
    channels_last: Literal["auto", "on", "off"] = setting(
        "auto",
        title="Channels last",
        advanced=True,
        description="Memory layout of images and weights. auto: on, and on a CPU, in runs of more than a minute, what "
        "is measured to be faster.",
    )
    compile: bool = setting(
        False,
        title="Compile",
        advanced=True,
        description="torch.compile: repaid in long runs only, a minute at the start.",
    )
    cuda_graph: bool = setting(
        False,
        title="CUDA graph",
        advanced=True,
        description="Record the whole step once and replay it: saves the launches of small batches. Not yet tried on a "
        "real GPU, so off; without a GPU, and for methods that cannot be recorded, it does nothing.",
    )
    replay: Literal["auto", "on", "off"] = setting(
        "auto",
        title="Cached teacher logits",
        advanced=True,
        description="Store the teacher's logits for each view and read them when the view comes again. auto: where "
        "there are finitely many views, and on a GPU only where all of them are stored already; on: also for "
        "views that come again in other runs of the same seed alone.",
    )
    deterministic: bool = setting(
        False, title="Deterministic", advanced=True, description="Bit-exact resume on a GPU too, at some speed."
    )
    log_every: int = setting(
        10, title="Log every", unit="steps", ge=1, advanced=True, description="Steps between log points."
    )
    inspect: int = setting(
        6,
        title="Look inside",
        unit="times",
        ge=0,
        le=1000,
        advanced=True,
        description="How often, spread over the run, attention, graphs and the like are stored for the Inspect page; "
        "0 = never. It takes about a second each time on a CPU and changes nothing of what is learnt.",
    )
    keep_epochs: tuple[int, ...] = setting(
        (), title="Keep epochs", advanced=True, description="Epochs whose weights are kept beside last and best."
    )

    @property
    def in_channels_last(self) -> bool:
        """Whether images and weights have their channels last where nothing is measured."""
        return self.channels_last != "off"

    @field_validator("channels_last", mode="before")
    @classmethod
    def _read_truth_value(cls, value: Any) -> Any:
        """Earlier versions wrote true and false."""
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else value

    @field_validator("device")
    @classmethod
    def _check_device(cls, value: str) -> str:
        kind, _, index = value.partition(":")
        if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
            raise PydanticCustomError(
                "device", "found {value}, expected auto, cpu, cuda or cuda:<n>", {"value": repr(value)}
            )
        return value
