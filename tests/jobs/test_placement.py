"""Slots: by free memory with GPUs, by number without; what a trainer may see of the environment."""

from __future__ import annotations

import dataclasses
import os

import pytest

from kdengine.errors import BadInput
from kdengine.jobs import Gpu, Placement, Slot, child_environment
from kdengine.jobs.placement import parse_gpus
from kdengine.states import State


def placed(job, slot):
    return dataclasses.replace(job, state=State.RUNNING, slot=slot)


def test_the_gpu_with_most_free_memory_first_and_one_job_each(house):
    job = house.submit("a")
    placement = Placement(lambda: [Gpu(0, 9000, 16000), Gpu(1, 15000, 16000)], {})
    assert placement.find(job, []) == Slot("gpu:1", "1")
    assert placement.find(job, [placed(job, "gpu:1")]) == Slot("gpu:0", "0")
    assert "each has a job" in placement.find(job, [placed(job, "gpu:0"), placed(job, "gpu:1")])
    shell = dataclasses.replace(placed(job, None))
    assert placement.find(job, [shell]) == Slot("gpu:1", "1"), "a run from a shell shows in the free memory only"


def test_a_full_gpu_is_waited_for_in_words(house):
    job = house.submit("a")
    placement = Placement(lambda: [Gpu(0, 1200, 8000)], {})
    assert "1200 of 8000 MiB free" in placement.find(job, [])
    assert Placement(lambda: [Gpu(0, 1200, 8000)], {"KD_GPU_MIN_FREE_MB": "1000"}).find(job, []) == Slot("gpu:0", "0")


def test_visible_devices_narrow_the_choice(house):
    job = house.submit("a")
    gpus = [Gpu(0, 15000, 16000), Gpu(1, 9000, 16000)]
    assert Placement(lambda: gpus, {"CUDA_VISIBLE_DEVICES": "1"}).find(job, []) == Slot("gpu:1", "1")
    assert Placement(lambda: gpus, {"CUDA_VISIBLE_DEVICES": ""}).find(job, []) == Slot("cpu:0", "")


def test_cpu_slots_count_runs_from_a_shell_but_no_controllers(house):
    job = house.submit("a")
    controller = dataclasses.replace(placed(job, "none"), kind="study")
    one, two = Placement(list, {}), Placement(list, {"KD_CPU_SLOTS": "2"})
    assert one.find(job, [controller]) == Slot("cpu:0", "")
    assert "1 of 1" in one.find(job, [placed(job, None)])
    assert one.find(controller, [placed(job, "cpu:0")]) == Slot("none", None)
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert two.find(job, [placed(job, "cpu:0")]) == Slot("cpu:1", "", share), "jobs at once share the cores"
    assert (one.capacity(), two.capacity()) == (1, 2)


def test_settings_that_are_no_numbers_are_refused():
    with pytest.raises(BadInput, match="KD_CPU_SLOTS"):
        Placement(list, {"KD_CPU_SLOTS": "many"})


def test_answers_of_nvidia_smi_are_read():
    assert parse_gpus("0, 80000, 81559\n1, [N/A], 81559\n") == [Gpu(0, 80000, 81559)]


def test_the_environment_keeps_secrets_out():
    passed = child_environment(
        {
            **{"PATH": "/bin", "LC_ALL": "C", "HF_TOKEN": "t", "MLFLOW_TRACKING_PASSWORD": "p", "CUDA_HOME": "/c"},
            **{"AWS_SECRET_ACCESS_KEY": "x", "DATABASE_URL": "x", "KD_UI_PASSWORD": "x", "KD_START_TOKEN": "x"},
            **{"KD_HOME": "/h", "LANGUAGE_MODEL_KEY": "x"},
        }
    )
    assert set(passed) == {"PATH", "LC_ALL", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "CUDA_HOME", "KD_HOME"}
