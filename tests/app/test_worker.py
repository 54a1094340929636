"""Computations for pages run elsewhere: their errors come back in words, their death takes nothing with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch
import worker_on_gpu
from fake_nvml import FIRST, Card, FakeNvml
from support import PATIENCE_S, wait_until_gone

from app import tasks
from app.pages.launch import cards
from app.worker import Worker
from kdengine.errors import BadInput, KdError
from kdengine.jobs import JobLabels, JobStore, stop_supervisor
from kdengine.machine.nvml import Nvml
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace
from kdengine.workspace.states import State

SPEC = ExperimentSpec.from_mapping(
    {"student": "resnet20", "method": "none", "data": {"per_class": 5}, "recipe": {"batch_size": 16}}
)

TOO_BIG = SPEC.model_copy(update={"recipe": SPEC.recipe.model_copy(update={"batch_size": 999})})


@pytest.fixture
def worker(workspace: Workspace) -> Iterator[Worker]:
    worker = Worker(str(workspace.root))
    yield worker
    worker.close()
    stop_supervisor(workspace)


def test_samples_check_and_refusals(worker: Worker) -> None:
    facts = worker.call("samples", {"name": "digits"})
    assert facts["classes"] == 10 and len(facts["images"]) == 12
    assert all(url.startswith("data:image/png;base64,") for url, _ in facts["images"])
    assert not worker.call("samples", {"name": "cifar10"})["present"], "looking at a data set never downloads it"
    worker.call("check", SPEC.to_yaml())
    with pytest.raises(BadInput) as refused:
        worker.call(
            "check", SPEC.model_copy(update={"recipe": SPEC.recipe.model_copy(update={"batch_size": 999})}).to_yaml()
        )
    assert [problem.field for problem in refused.value.problems] == ["recipe.batch_size"]
    with pytest.raises(KdError, match="no run"):
        worker.call("classify", ["nobody"], "image.png")


def test_a_dead_worker_is_replaced(worker: Worker, workspace: Workspace) -> None:
    worker.call("warm")
    pid = next(iter(worker._pool._processes))

    def kill_soon() -> None:
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill_soon)
    thread.start()
    with pytest.raises(KdError, match="died"):
        for _ in range(100):
            worker.call("forecast", SPEC.to_yaml())
    thread.join()
    assert worker.call("samples", {"name": "digits"})["classes"] == 10


def test_no_worker_outlives_a_killed_server(workspace: Workspace) -> None:
    """A page server killed with -9 leaves nothing behind that would keep its memory."""
    code = """
import os, sys
from app.worker import Worker
if __name__ == "__main__":
    worker = Worker(sys.argv[1])
    worker.call("samples", {"name": "digits"})
    print(next(iter(worker._pool._processes)), flush=True)
    os.kill(os.getpid(), 9)
"""
    script = workspace.root / "server.py"
    script.write_text(code)
    server = subprocess.run(
        [sys.executable, str(script), str(workspace.root)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    wait_until_gone(int(server.stdout))


def test_the_same_token_queues_once(worker: Worker, workspace: Workspace) -> None:
    first = worker.call("launch", [SPEC.to_yaml()], "token")
    again = worker.call("launch", [SPEC.to_yaml()], "token")
    assert first == again
    assert [job.id for job in JobStore(workspace).jobs()] == first
    store = JobStore(workspace)
    deadline = time.monotonic() + PATIENCE_S
    while not store.get(first[0]).state.ended and time.monotonic() < deadline:
        if store.get(first[0]).state in ("running", "starting", "queued"):
            store.request_kill(first[0]) if store.get(first[0]).state != "queued" else store.cancel(first[0])
        time.sleep(0.2)


def test_what_is_refused_queues_nothing(worker: Worker, workspace: Workspace) -> None:
    with pytest.raises(BadInput):
        worker.call("launch", [SPEC.to_yaml(), TOO_BIG.to_yaml()], "token")
    assert JobStore(workspace).jobs() == []
    assert workspace.list_runs() == []


# the GPU --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick() -> Iterator[Worker]:
    worker = Worker("nowhere", run=worker_on_gpu.run, give_back_s=0.2)
    yield worker
    worker.close()


def test_a_process_with_a_cuda_context_ends_when_nothing_is_asked_of_it(quick: Worker) -> None:
    first = quick.call("on the GPU")
    wait_until_gone(first)
    assert quick.call("on the GPU") != first, "the next question gets a fresh one"


def test_one_without_stays_and_none_ends_while_it_computes(quick: Worker) -> None:
    first = quick.call("on the CPU")
    time.sleep(1)
    assert quick.call("on the CPU") == first, "its imports took seconds"
    assert quick.call("on the GPU") == first
    assert quick.call("slow", 1.0) == first, "a question stops the clock"
    wait_until_gone(first)


def test_a_closed_worker_leaves_no_clock_behind(quick: Worker) -> None:
    first = quick.call("on the GPU")
    quick.close()
    wait_until_gone(first)
    assert quick._timer is None


def test_a_task_tells_whether_it_left_a_context(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[bool] = []
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
        plain = tasks.run("samples", str(workspace.root), ({"name": "digits"},))
        assert plain["on_gpu"] is False and not emptied
        patched.setattr(torch.cuda, "is_initialized", lambda: True)
        assert tasks.run("samples", str(workspace.root), ({"name": "digits"},))["on_gpu"] is True
        assert tasks.run("samples", str(workspace.root), ({"name": "nothing"},))["on_gpu"] is True, "a refusal too"
        assert len(emptied) == 2, "what the task has freed goes back at once"


def test_a_forecast_beside_a_training_is_made_on_the_cpu_and_says_so(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spec asks for what only a GPU has; on a machine whose card is held by a run."""
    store = JobStore(workspace)
    store.submit("method: none\n", run_id="training", command="kd train", labels=JobLabels("training"))
    store.change("training", {State.QUEUED}, state=State.RUNNING, slot="gpu:0", device=FIRST)
    runtime = SPEC.runtime.model_copy(update={"device": "cuda", "precision": "bf16"})
    wanted = SPEC.model_copy(update={"runtime": runtime})
    with monkeypatch.context() as patched:
        patched.setattr("kdengine.jobs.beside.look", Nvml(FakeNvml(Card(FIRST))).inventory)
        answer = tasks.run("forecast", str(workspace.root), (wanted.to_yaml(),))
        assert answer["result"]["device"] == "cpu" and answer["result"]["seconds"] > 0
        shown = cards.cost(answer["result"])
        assert "computed on the CPU, since training trains on the GPU" in shown
        store.change("training", set(State), state=State.FINISHED)
        assert "no device 'cuda'" in str(tasks.run("forecast", str(workspace.root), (wanted.to_yaml(),))["problems"])
