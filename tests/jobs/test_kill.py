"""kill -9 of the supervisor at any moment: no job is lost, none is started twice."""

from __future__ import annotations

import random
import signal
import time

import pytest

from kdengine.workspace.states import State


def kill(process) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def test_the_next_supervisor_takes_a_running_job_over(house):
    house.submit("a", steps=40, step_s=0.03)
    first = house.start_supervisor()
    house.wait_state("a", State.RUNNING)
    pid = house.store.get("a").pid
    kill(first)
    house.start_supervisor()
    house.wait_ended("a")
    job = house.store.get("a")
    assert (job.state, job.pid, house.starts("a"), job.attempt) == (State.FINISHED, pid, 1, 1)
    assert house.steps("a") == list(range(1, 41))


def test_a_job_whose_process_was_not_stored_yet_is_found_by_its_token(house):
    house.submit("a", steps=60, step_s=0.03)
    first = house.start_supervisor()
    house.wait_state("a", State.RUNNING)
    kill(first)
    house.store.change("a", {State.RUNNING}, state=State.STARTING, pid=None, create_time=None, boot_id=None)
    house.start_supervisor()
    house.wait_state("a", State.RUNNING)
    house.store.request_stop("a")
    house.wait_ended("a")
    assert (house.state("a"), house.starts("a")) == (State.STOPPED, 1)


def test_a_job_that_never_got_to_start_is_queued_again(house):
    house.submit("a")
    house.store.change("a", {State.QUEUED}, state=State.STARTING, start_token="gone", started=time.time(), attempt=1)
    house.start_supervisor()
    house.wait_ended("a")
    assert (house.state("a"), house.starts("a"), house.store.get("a").attempt) == (State.FINISHED, 1, 1)


def test_a_trainer_that_ends_while_nobody_watches_keeps_its_own_word(house):
    house.submit("a", steps=10, step_s=0.03)
    house.submit("b", steps=10, step_s=0.03, fail="CUDA out of memory")
    first = house.start_supervisor(KD_CPU_SLOTS="2")
    house.wait(lambda: house.starts("a") and house.starts("b"))
    kill(first)
    house.wait(lambda: house.workspace.run("a").state() is State.FINISHED)
    house.start_supervisor()
    house.wait_ended("a", "b")
    assert house.state("a") is State.FINISHED and house.store.get("b").reason == "oom_gpu"
    assert (house.starts("a"), house.starts("b")) == (1, 1)


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_at_random_moments(house, seed):
    moments = random.Random(seed)
    names = [f"job-{number}" for number in range(6)]
    for name in names:
        house.submit(name, steps=6, step_s=0.02, workers=1)
    for _ in range(5):
        supervisor = house.start_supervisor(KD_CPU_SLOTS="2")
        time.sleep(moments.uniform(0.15, 0.9))
        kill(supervisor)
    house.start_supervisor(KD_CPU_SLOTS="2")
    house.wait_ended(*names)
    assert {house.state(name) for name in names} == {State.FINISHED}
    assert {name: house.starts(name) for name in names} == dict.fromkeys(names, 1)
    assert not any((house.workspace.run(name).path / "refused.txt").exists() for name in names)
    assert house.members() == []
