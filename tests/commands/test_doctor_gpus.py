"""``kd doctor`` on machines that are not here: what NVML and torch answer there is made up, the words are not."""

from __future__ import annotations

import os

import pynvml
import pytest
import torch
from fake_nvml import FIRST, SLICES, Card, FakeNvml, divided, shared_memory

from kdengine.commands.doctor import examine
from kdengine.commands.doctor_gpus import served
from kdengine.jobs.settings import set_jobs_per_gpu
from kdengine.machine import nvml
from kdengine.workspace import Workspace
from kdengine.workspace.dashboards import Record

WHEEL = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
T4 = Card(FIRST, "Tesla T4", capability=(7, 5))
V100 = Card(FIRST, "Tesla V100-SXM2-16GB", capability=(7, 0))
RTX_2080 = Card(FIRST, "NVIDIA GeForce RTX 2080 Ti", capability=(7, 5))
EMULATED = "bfloat16 by emulation alone, slower than float32: precision auto takes float16"

MACHINES = [
    # name, machine, GPUs that torch counts, CUDA of the wheel, expected: (subject, level, words, words of the advice)
    ("T4", FakeNvml(T4), 1, "13.0", [("gpu:0", "ok", EMULATED, ""), ("CUDA", "ok", "sees 1", "")]),
    ("RTX 2080", FakeNvml(RTX_2080), 1, "13.0", [("gpu:0", "ok", "capability 7.5, bfloat16 by emulation", "")]),
    ("V100", FakeNvml(V100), 1, "13.0", [("gpu:0", "problem", "not for this card", "CUDA 12.6")]),
    (
        "A100",
        FakeNvml(Card(FIRST)),
        1,
        "13.0",
        [("gpu:0", "ok", "39.0 GB of 40.0 GB free, compute capability 8.0", "")],
    ),
    (
        "MIG",
        FakeNvml(divided()),
        1,
        "13.0",
        [("gpu:0/0", "ok", "a slice made by MIG", ""), ("gpu:0/2", "ok", "fast bfloat16", ""), ("CUDA", "ok", "", "")],
    ),
    (
        "unified memory",
        FakeNvml(shared_memory()),
        1,
        "13.0",
        [("gpu:0", "ok", "shares the machine's memory, of which", "")],
    ),
    (
        "memory kept secret",
        FakeNvml(Card(FIRST, fails={"MemoryInfo": pynvml.NVML_ERROR_NO_PERMISSION})),
        1,
        "13.0",
        [("gpu:0", "ok", "this user may not read its memory", "")],
    ),
    (
        "no driver",
        FakeNvml(init=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND),
        0,
        "13.0",
        [("GPU", "ok", "no NVIDIA driver: runs train on the CPU", ""), ("queue", "ok", "1 at once on the CPU", "")],
    ),
    (
        "driver without permission",
        FakeNvml(init=pynvml.NVML_ERROR_NO_PERMISSION),
        0,
        "13.0",
        [("GPU", "warning", "insufficient permissions", "/dev/nvidia*")],
    ),
    (
        "driver just updated",
        FakeNvml(init=pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH),
        0,
        "13.0",
        [("GPU", "warning", "restart the machine: runs train on the CPU, and say so", "nvidia-smi")],
    ),
    (
        "old driver",
        FakeNvml(Card(FIRST), driver="535.183.01", cuda=12020),
        0,
        "13.0",
        [
            (
                "CUDA",
                "warning",
                "driver 535.183.01 shows a GPU, but torch for CUDA 13.0 cannot",
                "update the driver to 580 or newer",
            )
        ],
    ),
    (
        "torch without CUDA",
        FakeNvml(Card(FIRST)),
        0,
        None,
        [("CUDA", "warning", "built without CUDA", "wheel for CUDA")],
    ),
    (
        "lost card",
        FakeNvml(Card(FIRST, fails={"HandleByIndex": pynvml.NVML_ERROR_GPU_IS_LOST})),
        0,
        "13.0",
        [("gpu:0", "warning", "fallen off the bus", ""), ("CUDA", "warning", "fallen off the bus", "")],
    ),
]


def at(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace, machine: FakeNvml, count: int = 1, cuda: str | None = "13.0"
) -> dict[str, tuple[str, str, str]]:
    """What the doctor says there: subject -> level, text, advice."""
    with monkeypatch.context() as patched:
        patched.setattr(nvml, "look", nvml.Nvml(machine).inventory)
        patched.setattr("kdengine.jobs.placement.look", nvml.look)
        patched.setattr(torch.cuda, "is_available", lambda: count > 0)
        patched.setattr(torch.cuda, "device_count", lambda: count)
        patched.setattr(torch.cuda, "get_arch_list", lambda: WHEEL if cuda else [])
        patched.setattr(torch.version, "cuda", cuda)
        return {found.subject: (found.level, found.text, found.advice) for found in examine(workspace)}


@pytest.mark.parametrize(
    ("machine", "count", "cuda", "expected"), [row[1:] for row in MACHINES], ids=[row[0] for row in MACHINES]
)
def test_each_machine_gets_its_words(
    monkeypatch: pytest.MonkeyPatch,
    workspace: Workspace,
    machine: FakeNvml,
    count: int,
    cuda: str | None,
    expected: list[tuple[str, str, str, str]],
) -> None:
    found = at(monkeypatch, workspace, machine, count, cuda)
    for subject, level, text, advice in expected:
        assert found[subject][0] == level and text in found[subject][1] and advice in found[subject][2], found[subject]


def test_what_the_variable_hides_is_said(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("CUDA_VISIBLE_DEVICES", "-1")
        found = at(monkeypatch, workspace, FakeNvml(Card(FIRST)), 0)
        assert "hides all GPUs" in found["CUDA"][1] and found["CUDA"][0] == "ok"
        patched.setenv("CUDA_VISIBLE_DEVICES", SLICES[1])
        found = at(monkeypatch, workspace, FakeNvml(divided()))
        assert (
            f"hidden by CUDA_VISIBLE_DEVICES={SLICES[1]}" in found["gpu:0/0"][1] and "hidden" not in found["gpu:0/2"][1]
        )
        patched.setenv("CUDA_VISIBLE_DEVICES", "3")
        found = at(monkeypatch, workspace, FakeNvml(Card(FIRST)), 0)
        assert found["CUDA"][0] == "warning" and "names none of the GPUs" in found["CUDA"][1]


def test_how_many_runs_share_a_gpu(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("KD_JOBS_PER_GPU", "2")
        assert "2 at once on each of 1 (KD_JOBS_PER_GPU)" in at(monkeypatch, workspace, FakeNvml(T4))["queue"][1]
        set_jobs_per_gpu(workspace, 3)
        assert "3 at once on each of 2 (set on the Runs" in at(monkeypatch, workspace, FakeNvml(divided()))["queue"][1]


def test_the_dashboards_address_without_its_token(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    none = FakeNvml(init=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    assert "`kd ui` opens one" in at(monkeypatch, workspace, none, 0)["dashboard"][1]
    url = "http://127.0.0.1:7861"
    Record(workspace, 7861).write(port=7861, url=url, address=f"{url}/?token=secret", token="secret")
    said = at(monkeypatch, workspace, none, 0)["dashboard"][1]
    assert url in said and "secret" not in said, "what the doctor says is pasted into reports"
    Record(workspace, 7861).remove()


@pytest.mark.parametrize(
    ("capability", "arches", "expected"),
    [
        ((7, 0), WHEEL, False),
        ((7, 5), WHEEL, True),
        ((8, 9), WHEEL, True),
        ((12, 1), WHEEL, True),
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_90a"], True),
        ((11, 0), [*WHEEL, "compute_100"], True),
        ((11, 0), WHEEL, False),
    ],
)
def test_which_cards_a_wheel_serves(capability: tuple[int, int], arches: list[str], expected: bool) -> None:
    assert served(capability, arches) is expected


def test_this_machine_is_looked_at_without_a_context(workspace: Workspace) -> None:
    subjects = {found.subject for found in examine(workspace)}
    assert {"cpu", "queue", "dashboard"} <= subjects
    assert not torch.cuda.is_initialized() and os.environ.get("CUDA_VISIBLE_DEVICES") is None
