"""Slots: on GPUs as NVML tells of them and CUDA_VISIBLE_DEVICES shows them, on the cores by number; nothing silently.

The rows of `PLACES` are the cases of machine and variable; that what CUDA shows is read right is compared with torch's
own reading where that can be asked.
"""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Any

import psutil
import pynvml
import pytest
import torch
from fake_nvml import FIRST, GIB, SECOND, SLICES, THIRD, Card, FakeNvml, divided, shared_memory

from kdengine.errors import BadInput
from kdengine.jobs import Placement, Slot, child_environment
from kdengine.jobs.placement import NO_GPU, PLACED_ON, as_placed, why_no_gpu
from kdengine.jobs.settings import jobs_per_gpu, set_jobs_per_gpu
from kdengine.machine.nvml import Inventory, Nvml, within
from kdengine.machine.visible import VARIABLE, visible
from kdengine.workspace.states import State

CORES = len(os.sched_getaffinity(0))
NO_LIBRARY = FakeNvml(init=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)


def two(**changes: Any) -> FakeNvml:
    return FakeNvml(Card(FIRST, free=9 * GIB, **changes), Card(SECOND, free=15 * GIB))


def three() -> FakeNvml:
    return FakeNvml(Card(FIRST), Card(SECOND), Card(THIRD))


def lost() -> FakeNvml:
    fallen = Card(FIRST, fails={"HandleByIndex": pynvml.NVML_ERROR_GPU_IS_LOST})
    return FakeNvml(fallen, Card(SECOND))


def untold(error: int) -> FakeNvml:
    """What nvidia-smi writes as [N/A] or [Insufficient Permissions] in place of the memory."""
    return FakeNvml(Card(FIRST, fails={"MemoryInfo": error}))


def placement(machine: FakeNvml, environment: dict[str, str] | None = None, **options: Any) -> Placement:
    return Placement(Nvml(machine).inventory, environment or {}, **options)


def on(job: Any, slot: Slot | None, **changes: Any) -> Any:
    """The job at work in that slot, for long enough to have taken its memory."""
    place: dict[str, Any] = {"slot": slot.name, "device": slot.cuda_visible_devices} if slot else {"slot": None}
    return dataclasses.replace(job, state=State.RUNNING, **{"started": time.time() - 3600} | place | changes)


# which GPUs there are ------------------------------------------------------------------------------------------------

NUMBERED = [
    (None, [FIRST, SECOND, THIRD]),
    ("", []),
    (" ", []),
    ("-1", []),
    ("NoDevFiles", []),
    ("none", []),
    ("1", [SECOND]),
    ("2,0", [THIRD, FIRST]),
    (" 1 , 2", [SECOND, THIRD]),
    ("1,-1", [SECOND]),
    ("1,-1,2", [SECOND]),
    ("0,7,1", [FIRST]),
    ("0,,1", [FIRST]),
    ("1st,2nd", [SECOND, THIRD]),
    ("0,0", []),
    ("1,2,1", []),
    (FIRST, [FIRST]),
    (f"{THIRD},{FIRST}", [THIRD, FIRST]),
    ("GPU-bbbb", [SECOND]),
    ("GPU-", []),
    ("GPU-dddd", []),
    (f"{FIRST},GPU-dddd,{SECOND}", [FIRST]),
    (f"{FIRST},{FIRST}", []),
    (f"{FIRST},GPU-aaaa", []),
    (f"{FIRST},1", [FIRST]),
    (f"0,{SECOND}", [FIRST]),
    (SLICES[0], []),
]


@pytest.mark.parametrize(("value", "expected"), NUMBERED)
def test_whole_gpus_are_shown_by_cudas_rule(value: str | None, expected: list[str]) -> None:
    gpus = Nvml(three()).inventory().gpus
    assert [gpu.uuid for gpu in visible(value, gpus)] == expected


@pytest.mark.parametrize(("value", "expected"), [row for row in NUMBERED if row[0] is not None])
def test_torch_reads_the_variable_the_same_way(
    value: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch's reader knows no machine: what it lists is cut where it names nothing, as torch itself does later."""
    uuids = [FIRST, SECOND, THIRD]
    with monkeypatch.context() as patched:
        patched.setenv(VARIABLE, value)
        listed = torch.cuda._parse_visible_devices()
    if listed and isinstance(listed[0], str):
        listed = [] if listed[0].startswith("MIG-") else torch.cuda._transform_uuid_to_ordinals(listed, uuids)
    within_machine = next((n for n, index in enumerate(listed) if index >= len(uuids)), len(listed))
    assert [uuids[index] for index in listed[:within_machine]] == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, [*SLICES, SECOND]),
        ("0", list(SLICES)),
        ("1", [SECOND]),
        (FIRST, list(SLICES)),
        (SLICES[1], [SLICES[1]]),
        (f"{SLICES[1]},{SLICES[0]}", [SLICES[1], SLICES[0]]),
        (f"{SLICES[0]},{SLICES[0]}", []),
        (f"{SLICES[0]},MIG-99", [SLICES[0]]),
        ("MIG-99", []),
        (f"{SLICES[0]},{SECOND}", [SLICES[0]]),
    ],
)
def test_a_divided_gpu_is_its_slices(value: str | None, expected: list[str]) -> None:
    gpus = Nvml(FakeNvml(divided(), Card(SECOND))).inventory().gpus
    assert [gpu.uuid for gpu in visible(value, gpus)] == expected


def test_slices_by_the_names_of_old_drivers() -> None:
    old = f"MIG-{FIRST}/7/0"
    gpus = Nvml(FakeNvml(Card(FIRST, slices=[Card(old)]))).inventory().gpus
    assert [gpu.uuid for gpu in visible(old, gpus)] == [old]


def test_a_driver_that_came_later_is_asked_again() -> None:
    machine = FakeNvml(Card(FIRST), init=pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    nvml = Nvml(machine)
    assert "not loaded" in nvml.inventory().trouble
    machine.init = None
    assert [gpu.uuid for gpu in nvml.inventory().gpus] == [FIRST]
    machine.open = 0  # as after a reload of the driver
    assert nvml.inventory().trouble
    assert nvml.inventory().gpus, "the next question connects anew"


def test_a_driver_that_hangs_is_waited_for_once() -> None:
    import threading

    release, asked = threading.Event(), []

    def hang() -> Inventory:
        asked.append(1)
        release.wait(60)
        return Inventory(trouble="late")

    ask = within(0.01, hang)
    try:
        assert "does not answer" in ask().trouble and "does not answer" in ask().trouble
        assert asked == [1]
    finally:
        release.set()


# where a job goes ----------------------------------------------------------------------------------------------------

PLACES = [
    # machine, CUDA_VISIBLE_DEVICES, device of the spec, expected: GPU, "cpu", or what it waits for; words in "lacking"
    (two(), None, "auto", SECOND, ""),
    (two(), "0", "auto", FIRST, ""),
    (two(), "1,-1", "auto", SECOND, ""),
    (two(), "-1", "auto", "cpu", ""),
    (two(), "NoDevFiles", "auto", "cpu", ""),
    (two(), "", "auto", "cpu", ""),
    (two(), "-1", "cuda", "waits for a GPU, since it asks for cuda: CUDA_VISIBLE_DEVICES=-1 hides all", ""),
    (two(), FIRST, "auto", FIRST, ""),
    (two(), "GPU-aaaa", "cuda", FIRST, ""),
    (two(), "GPU-dddd", "auto", "cpu", "CUDA_VISIBLE_DEVICES=GPU-dddd names none of the GPUs"),
    (two(), "7", "cuda", "waits for a GPU, since it asks for cuda: CUDA_VISIBLE_DEVICES=7 names none", ""),
    (two(), None, "cuda:0", FIRST, ""),
    (two(), None, "cuda:1", SECOND, ""),
    (two(), "1,0", "cuda:1", FIRST, ""),
    (two(), None, "cuda:2", "waits for cuda:2, which is not here; there are: cuda:0, cuda:1", ""),
    (two(), None, "cpu", "cpu", ""),
    (FakeNvml(divided()), None, "auto", SLICES[1], ""),
    (FakeNvml(divided()), SLICES[0], "auto", SLICES[0], ""),
    (FakeNvml(divided()), "0", "cuda:1", SLICES[1], ""),
    (FakeNvml(divided()), "MIG-99", "auto", "cpu", "MIG-99 names none"),
    (FakeNvml(Card(FIRST, slices=[])), None, "auto", "cpu", "MIG is on, but nobody has made an instance"),
    (untold(pynvml.NVML_ERROR_NOT_SUPPORTED), None, "auto", FIRST, ""),
    (untold(pynvml.NVML_ERROR_NO_PERMISSION), None, "auto", FIRST, ""),
    (FakeNvml(shared_memory()), None, "auto", FIRST, ""),
    (lost(), None, "auto", SECOND, ""),
    (lost(), "1", "auto", SECOND, ""),
    (lost(), "0", "auto", "cpu", "GPU 0: it has fallen off the bus"),
    (NO_LIBRARY, None, "auto", "cpu", ""),
    (NO_LIBRARY, None, "cuda", "waits for a GPU, since it asks for cuda: there is no NVIDIA driver here", ""),
    (NO_LIBRARY, "0", "auto", "cpu", ""),
    (FakeNvml(), None, "auto", "cpu", ""),
    (FakeNvml(init=pynvml.NVML_ERROR_DRIVER_NOT_LOADED), None, "auto", "cpu", "installed but not loaded"),
    (FakeNvml(init=pynvml.NVML_ERROR_NO_PERMISSION), None, "auto", "cpu", "insufficient permissions"),
    (FakeNvml(init=pynvml.NVML_ERROR_NO_PERMISSION), None, "cuda", "waits for a GPU, since it asks for cuda: ins", ""),
    (FakeNvml(init=pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH), None, "auto", "cpu", "differ in version"),
    (FakeNvml(init=pynvml.NVML_ERROR_UNKNOWN), None, "auto", "cpu", "Unknown Error"),
]


@pytest.mark.parametrize(("machine", "value", "wanted", "expected", "lacking"), PLACES)
def test_a_job_is_placed_or_says_what_is_missing(
    house: Any, machine: FakeNvml, value: str | None, wanted: str, expected: str, lacking: str
) -> None:
    environment = {"KD_GPU_MIN_FREE_MB": "1"} | ({} if value is None else {VARIABLE: value})
    found = placement(machine, environment).find(house.submit("a"), [], wanted)
    if isinstance(found, str):
        assert expected in found
        return
    assert found.cuda_visible_devices == ("" if expected == "cpu" else expected)
    assert (lacking in found.lacking) and bool(lacking) == bool(found.lacking)
    passed = found.environment()
    assert passed[VARIABLE] == found.cuda_visible_devices and passed["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    if expected == "cpu":
        told = why_no_gpu(wanted, passed, lambda: pytest.fail("what the supervisor knows is not asked again"))
        assert told == found.lacking, "the trainer says what its supervisor found"


def test_the_freest_gpu_first_and_one_job_each(house: Any) -> None:
    job, here = house.submit("a"), placement(two())
    share = max(1, CORES // 2)
    first = here.find(job, [])
    assert first == Slot("gpu:1", SECOND, share), "jobs at once share the cores"
    second = here.find(job, [on(job, first)])
    assert second == Slot("gpu:0", FIRST, share)
    assert "each has a job" in here.find(job, [on(job, first), on(job, second)])
    assert here.find(job, [on(job, None)]) == first, "a run from a shell shows in the free memory only"
    assert "GPU 1: it has a job" in here.find(job, [on(job, first)], "cuda:1")
    assert here.capacity() == 2
    alone = placement(FakeNvml(Card(FIRST))).find(job, [])
    assert alone == Slot("gpu:0", FIRST), "one job alone has all cores"


def test_a_job_is_found_by_uuid_whatever_its_index_is_now(house: Any) -> None:
    job, here = house.submit("a"), placement(FakeNvml(Card(SECOND)))  # once "gpu:1"; the first one was taken out
    assert "it has a job" in here.find(job, [on(job, Slot("gpu:1", SECOND))])
    assert here.find(job, [on(job, Slot("gpu:0", FIRST))]) == Slot("gpu:0", SECOND)
    of_an_earlier_version = on(job, Slot("gpu:0", "0"))
    assert "it has a job" in here.find(job, [of_an_earlier_version])


def test_a_full_gpu_is_waited_for_in_words(house: Any) -> None:
    job, full = house.submit("a"), FakeNvml(Card(FIRST, free=1200 << 20, total=8000 << 20))
    assert "GPU 0 has 1200 of 8000 MiB free, 4000 are wanted" in placement(full).find(job, [])
    assert placement(full, {"KD_GPU_MIN_FREE_MB": "1000"}).find(job, []) == Slot("gpu:0", FIRST)


def test_shared_memory_is_the_machines(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job, here = house.submit("a"), placement(FakeNvml(shared_memory()))
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=1000 << 20, total=8000 << 20))
    assert "has 1000 of 8000 MiB free" in here.find(job, [])
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=5000 << 20, total=8000 << 20))
    assert here.find(job, []) == Slot("gpu:0", FIRST)


def test_small_runs_are_packed_by_free_memory(house: Any) -> None:
    job, machine = house.submit("a"), two()
    here = placement(machine, {"KD_JOBS_PER_GPU": "3", "KD_GPU_MIN_FREE_MB": "4096"})
    assert here.capacity() == 6
    started: list[Any] = []
    for _ in range(4):
        slot = here.find(job, started)
        assert isinstance(slot, Slot) and slot.threads == max(1, CORES // 6)
        started.append(on(job, slot, started=time.time()))
    assert [each.slot for each in started] == ["gpu:1", "gpu:0", "gpu:1", "gpu:0"]
    # 15 GiB take three jobs of four, 9 GiB two: what those just started will take is kept for them.
    last = here.find(job, started)
    assert isinstance(last, Slot) and last.name == "gpu:1"
    started.append(on(job, last, started=time.time()))
    assert "beside what" in here.find(job, started) and "waits for GPU memory: GPU 0" in here.find(job, started)
    long_at_work = [dataclasses.replace(each, started=time.time() - 3600) for each in started]
    assert here.find(job, long_at_work).name == "gpu:0", "by now what they have taken shows in the free memory"


def test_what_is_set_on_a_page_counts_at_once(house: Any) -> None:
    from functools import partial

    job = house.submit("a")
    here = placement(FakeNvml(Card(FIRST)), per_gpu=partial(jobs_per_gpu, house.workspace))
    beside = [on(job, Slot("gpu:0", FIRST))]
    assert "it has a job" in here.find(job, beside)
    set_jobs_per_gpu(house.workspace, 2)
    assert here.find(job, beside) == Slot("gpu:0", FIRST, max(1, CORES // 2))
    assert "it has 2 jobs" in here.find(job, beside * 2)
    set_jobs_per_gpu(house.workspace, None)
    assert "it has a job" in here.find(job, beside)
    for wrong in (0, 17, "two"):
        with pytest.raises(BadInput, match="from 1 to 16"):
            set_jobs_per_gpu(house.workspace, wrong)
    (house.workspace.root / "settings.json").write_text("{torn")
    assert "it has a job" in here.find(job, beside)


def test_a_job_for_the_cpu_takes_no_gpu(house: Any) -> None:
    job, here = house.submit("a"), placement(FakeNvml(Card(FIRST)))
    on_gpu, on_cpu = on(job, Slot("gpu:0", FIRST)), on(job, Slot("cpu:0", ""))
    assert here.find(job, [on_gpu], "cpu") == Slot("cpu:0", "")
    assert here.find(job, [on_cpu]) == Slot("gpu:0", FIRST)
    assert "1 of 1 in use (KD_CPU_SLOTS)" in here.find(job, [on_gpu, on_cpu], "cpu")


def test_cpu_slots_count_runs_from_a_shell_but_no_controllers(house: Any) -> None:
    job = house.submit("a")
    controller = dataclasses.replace(on(job, Slot("none", None)), kind="study")
    one, half = placement(NO_LIBRARY), placement(NO_LIBRARY, {"KD_CPU_SLOTS": "2"})
    assert one.find(job, [controller]) == Slot("cpu:0", "")
    assert "1 of 1" in one.find(job, [on(job, None)])
    assert one.find(controller, [on(job, Slot("cpu:0", ""))]) == Slot("none", None)
    assert Slot("none", None).environment() == {}, "it may have to start the next supervisor"
    assert half.find(job, [on(job, Slot("cpu:0", ""))]) == Slot("cpu:1", "", max(1, CORES // 2))
    assert (one.capacity(), half.capacity()) == (1, 2)


@pytest.mark.parametrize("name", ["KD_CPU_SLOTS", "KD_JOBS_PER_GPU", "KD_GPU_MIN_FREE_MB"])
def test_settings_that_are_no_numbers_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match=name):
        Placement(Inventory, {name: "many"})


# what a trainer makes of it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "placed_on", "expected"),
    [
        ("cuda:1", FIRST, "cuda"),
        ("cuda:0", FIRST, "cuda"),
        ("auto", FIRST, "auto"),
        ("cpu", "", "cpu"),
        ("cuda:1", None, "cuda:1"),
    ],
)
def test_the_one_gpu_of_a_placed_run_is_its_first(named: str, placed_on: str | None, expected: str) -> None:
    assert as_placed(named, {} if placed_on is None else {PLACED_ON: placed_on}) == expected


@pytest.mark.parametrize(
    ("machine", "environment", "words"),
    [
        (NO_LIBRARY, {}, ""),
        (FakeNvml(), {}, ""),
        (two(), {VARIABLE: "-1"}, ""),
        (two(), {VARIABLE: "9"}, "names none of the GPUs of this machine: 0 (GPU-aaaa"),
        (two(), {}, "the driver (580.95.05) shows NVIDIA A100-SXM4-40GB, but this torch cannot use it"),
        (two(), {PLACED_ON: FIRST, NO_GPU: "", VARIABLE: FIRST}, "but this torch cannot use it"),
        (FakeNvml(init=pynvml.NVML_ERROR_NO_PERMISSION), {}, "insufficient permissions"),
    ],
)
def test_a_run_without_the_gpu_it_would_take_says_why(
    machine: FakeNvml, environment: dict[str, str], words: str
) -> None:
    told = why_no_gpu("auto", environment, Nvml(machine).inventory)
    assert words in told and bool(words) == bool(told)
    assert why_no_gpu("cpu", environment, Nvml(machine).inventory) == ""


def test_the_environment_keeps_secrets_out() -> None:
    passed = child_environment(
        {
            **{"PATH": "/bin", "LC_ALL": "C", "HF_TOKEN": "t", "MLFLOW_TRACKING_PASSWORD": "p", "CUDA_HOME": "/c"},
            **{"AWS_SECRET_ACCESS_KEY": "x", "DATABASE_URL": "x", "KD_UI_PASSWORD": "x", "KD_START_TOKEN": "x"},
            **{"KD_HOME": "/h", "LANGUAGE_MODEL_KEY": "x"},
        }
    )
    assert set(passed) == {"PATH", "LC_ALL", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "CUDA_HOME", "KD_HOME"}
