"""The supervisor with real processes of a fake trainer."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pynvml
import pytest
from fake_nvml import FIRST, SECOND, Card, FakeNvml

from kdengine.errors import KdError
from kdengine.jobs import (
    JobLabels,
    Keeper,
    Placement,
    dead_end,
    ensure_supervisor,
    stalled,
    stop_supervisor,
    supervisor_alive,
    supervisor_identity,
)
from kdengine.jobs.placement import as_placed, why_no_gpu
from kdengine.jobs.remedies import offered
from kdengine.machine.nvml import Nvml
from kdengine.processes import boot_id, is_alive
from kdengine.workspace.identity import process_identity
from kdengine.workspace.states import State


def test_order_is_kept_and_a_failure_does_not_stop_the_queue(house):
    for name in "abcde":
        house.submit(name, **({"fail": "boom"} if name == "b" else {}))
    supervisor = house.supervisor()
    house.wait_ended(*"abcde", tick=supervisor)
    supervisor.tick()
    states = {job.id: job.state for job in house.store.jobs()}
    assert states == dict.fromkeys("acde", State.FINISHED) | {"b": State.FAILED}
    assert sorted("abcde", key=house.started_at) == list("abcde")
    assert sorted(house.ended) == sorted((name, states[name]) for name in "abcde")
    failed = house.store.get("b")
    assert (failed.reason, failed.exit_code) == ("crashed", 3) and "boom" in failed.message and failed.advice


def test_a_restart_in_the_middle_keeps_the_order(house):
    for name in "abcd":
        house.submit(name, steps=6, step_s=0.03)
    first = house.start_supervisor()
    house.wait_state("b", State.RUNNING)
    house.store.move("d", "top")
    first.send_signal(signal.SIGTERM)
    first.wait(10)
    house.start_supervisor()
    house.wait_ended(*"abcd")
    assert sorted("abcd", key=house.started_at) == list("abdc")
    assert {house.starts(name) for name in "abcd"} == {1}
    assert {house.state(name) for name in "abcd"} == {State.FINISHED}


def test_stop_writes_a_checkpoint_and_resume_goes_on_from_it(house):
    house.submit("a", steps=40, step_s=0.02)
    supervisor = house.supervisor()
    house.wait(lambda: len(house.steps("a")) > 3, tick=supervisor)
    house.store.request_stop("a")
    house.wait_ended("a", tick=supervisor)
    job = house.store.get("a")
    assert (job.state, job.reason, job.exit_code, job.request) == (State.STOPPED, "stopped", 143, None)
    house.store.resume("a")
    house.wait_ended("a", tick=supervisor)
    assert house.state("a") is State.FINISHED and house.steps("a") == list(range(1, 41))
    assert house.store.get("a").attempt == house.starts("a") == 2


def test_after_the_grace_the_whole_group_is_killed(house):
    house.submit("a", steps=1000, step_s=0.05, workers=3, deaf=True)
    supervisor = house.supervisor(stop_grace_s=0.3)
    house.wait(lambda: len(house.members()) == 4, tick=supervisor)
    house.wait_state("a", State.RUNNING, tick=supervisor)
    house.store.request_stop("a")
    house.wait_state("a", State.STOPPING, tick=supervisor)
    assert house.store.get("a").stopping_since == pytest.approx(time.time(), abs=5)
    house.wait_ended("a", tick=supervisor)
    job = house.store.get("a")
    assert (job.state, job.exit_code) == (State.STOPPED, -9) and "did not stop within" in job.message
    assert house.members() == []
    assert house.workspace.run("a").state() is State.STOPPED


def test_workers_that_outlive_their_trainer_are_removed(house):
    house.submit("a", workers=3)
    house.wait_ended("a", tick=house.supervisor())
    assert house.state("a") is State.FINISHED and house.members() == []


def test_kill_on_request_ends_at_once(house):
    house.submit("a", steps=1000, step_s=0.05, workers=1)
    supervisor = house.supervisor()
    house.wait_state("a", State.RUNNING, tick=supervisor)
    house.store.request_kill("a")
    house.wait_ended("a", tick=supervisor)
    assert house.state("a") is State.STOPPED and house.members() == []
    assert "on request" in house.store.get("a").message


def test_a_noisy_trainer_does_not_hang(house):
    house.submit("a", noise=2 << 20)
    house.wait_ended("a", tick=house.supervisor())
    assert house.state("a") is State.FINISHED
    assert house.workspace.run("a").log_file.stat().st_size > 2 << 20


def test_a_killed_trainer_failed_and_resumes(house):
    house.submit("a", steps=4, die=9)
    supervisor = house.supervisor()
    house.wait_ended("a", tick=supervisor)
    job = house.store.get("a")
    assert (job.state, job.reason, job.exit_code) == (State.FAILED, "killed", -9)
    status = house.workspace.run("a").status()
    assert (status["state"], status["reason"], status["message"]) == ("failed", "killed", job.message)
    house.store.resume("a")
    house.wait_ended("a", tick=supervisor)
    assert house.state("a") is State.FINISHED and house.steps("a") == [1, 2, 3, 4]


def test_a_killed_trainer_resumes_by_itself_when_asked_to(house):
    house.submit("a", steps=4, die=9)
    with sqlite3.connect(house.workspace.jobs_db) as jobs:
        jobs.execute("CREATE TABLE seen (state TEXT)")
        jobs.execute(
            "CREATE TRIGGER watch AFTER UPDATE OF state ON jobs BEGIN INSERT INTO seen VALUES (new.state); END"
        )
    house.wait_ended("a", tick=house.supervisor(auto_resume=1))
    assert house.state("a") is State.FINISHED and house.starts("a") == 2 and house.store.get("a").retries == 1
    with sqlite3.connect(house.workspace.jobs_db) as jobs:
        seen = [state for (state,) in jobs.execute("SELECT state FROM seen")]
    assert seen.count("queued") == 1 and "failed" not in seen and seen[-1] == "finished", "never ended in between"
    assert house.ended == [("a", State.FINISHED)]


@pytest.mark.parametrize(
    ("fake", "reason", "word"),
    [
        ({"fail": "CUDA out of memory. Tried to allocate 2 GiB"}, "oom_gpu", "2.0 GiB more were needed"),
        ({"fail": "loss became nan"}, "nan_loss", "nan"),
        ({"fail": "[Errno 28] No space left on device"}, "disk_full", "space"),
        ({"die": 11}, "crashed", "SIGSEGV"),
        ({"die": 9}, "killed", "signal 9"),
        ({"silent": True}, "unknown", "exit code 7"),
    ],
)
def test_crafted_failures(house, fake, reason, word):
    house.submit("a", **fake)
    house.wait_ended("a", tick=house.supervisor())
    job = house.store.get("a")
    assert (job.state, job.reason) == (State.FAILED, reason) and word in job.message and job.advice


def test_a_run_that_the_kernel_killed_for_memory_is_offered_what_takes_less(house, monkeypatch):
    """By whoever notices, since the run itself could say nothing; the next start takes it away again."""
    monkeypatch.setattr("kdengine.jobs.starts.host_oom_kills", itertools.count().__next__)
    house.submit("a", die=9)
    run = house.workspace.run("a")
    recipe = {"recipe": {"batch_size": 64}, "runtime": {"workers": 4}}
    run.spec_file.write_text(json.dumps(run.spec_mapping() | recipe))
    house.wait_ended("a", tick=house.supervisor())
    assert house.store.get("a").reason == "oom_host"
    assert [each["set"] for each in offered(run.status())] == [{"runtime.workers": 0}, {"recipe.batch_size": 32}]
    run.spec_file.write_text(json.dumps(run.spec_mapping() | {"fake": {"steps": 1}}))
    house.store.resume("a")
    house.wait_ended("a", tick=house.supervisor())
    assert house.state("a") is State.FINISHED and run.status()["remedies"] is None


def test_a_command_that_cannot_be_started_fails_that_job_only(house):
    house.submit("a")
    house.submit("b")
    command = lambda job: ["/no/such/program"] if job.id == "a" else house.trainer_command(job)  # noqa: E731
    house.wait_ended("a", "b", tick=house.supervisor(command_for=command))
    assert (house.state("a"), house.state("b")) == (State.FAILED, State.FINISHED)


def test_a_reboot_loses_the_job_which_then_resumes(house):
    house.submit("a")
    identity = process_identity() | {"boot_id": "the boot before"}
    run = house.workspace.run("a")
    run.update_status(state=State.RUNNING, process=identity, start_token="t")
    house.store.change("a", {State.QUEUED}, state=State.RUNNING, start_token="t", **identity)
    supervisor = house.supervisor()
    supervisor.tick()
    assert (house.state("a"), run.state()) == (State.LOST, State.LOST)
    assert "restarted" in house.store.get("a").message
    house.store.resume("a")
    house.wait_ended("a", tick=supervisor)
    assert house.state("a") is State.FINISHED


def test_a_process_id_given_to_another_is_never_killed(house):
    house.submit("a")
    stranger = subprocess.Popen(["sleep", "60"])
    house.processes.append(stranger)
    identity = process_identity(stranger.pid)
    identity["create_time"] -= 100
    house.workspace.run("a").update_status(state=State.RUNNING, process=identity, start_token="t")
    house.store.change("a", {State.QUEUED}, state=State.RUNNING, start_token="t", **identity)
    house.store.request_kill("a")
    supervisor = house.supervisor(stop_grace_s=0)
    house.wait_ended("a", tick=supervisor)
    assert stranger.poll() is None


def test_a_job_waits_for_another_also_for_one_that_was_stopped_or_failed(house):
    house.submit("good", steps=5)
    house.submit("bad", steps=4, die=9)  # at its second step; resumed, it goes on from there
    house.submit("after-good", after="good")
    house.submit("after-bad", after="bad")
    house.submit("third", after="after-bad")
    house.store.move("after-good", "top")
    supervisor = house.supervisor()
    supervisor.tick()
    assert "waits for good" in house.store.get("after-good").message
    house.wait_ended("good", "bad", "after-good", tick=supervisor)
    assert house.started_at("after-good") > house.started_at("good")
    assert house.state("after-good") is State.FINISHED
    supervisor.tick()
    assert (house.state("bad"), house.state("after-bad"), house.state("third")) == (State.FAILED, *[State.QUEUED] * 2)
    message = house.store.get("after-bad").message
    assert "which is failed: it was killed" in message and "`kd jobs resume bad`" in message
    jobs = {job.id: job for job in house.store.jobs()}
    assert dead_end(jobs["third"], jobs) == dead_end(jobs["after-bad"], jobs) == jobs["bad"]
    assert dead_end(jobs["bad"], jobs) is None and dead_end(jobs["after-good"], jobs) is None
    house.store.resume("bad")
    assert dead_end(house.store.get("third"), {job.id: job for job in house.store.jobs()}) is None
    house.wait_ended("bad", "after-bad", "third", tick=supervisor)
    assert {house.state(name) for name in ("bad", "after-bad", "third")} == {State.FINISHED}
    assert {house.starts(name) for name in ("after-bad", "third")} == {1}


def test_a_student_of_a_stopped_teacher_waits_is_cancelled_and_waits_again(house):
    house.submit("teacher")
    house.submit("student", after="teacher")
    house.store.cancel("teacher")
    supervisor = house.supervisor()
    supervisor.tick()
    assert house.store.get("student").message.startswith("waits for teacher, which was stopped; `kd jobs resume")
    house.store.cancel("student")
    assert house.store.resume("student").state is State.QUEUED, "it waits for its teacher again"
    house.store.resume("teacher")
    house.wait_ended("teacher", "student", tick=supervisor)
    assert house.state("student") is State.FINISHED


def test_a_queued_job_that_is_cancelled_never_starts(house):
    house.submit("a", steps=5)
    house.submit("b")
    house.store.cancel("b")
    supervisor = house.supervisor()
    house.wait_ended("a", tick=supervisor)
    supervisor.tick()
    assert house.starts("b") == 0 and ("b", State.STOPPED) in house.ended


def test_the_snapshot_of_submit_time_is_used(house, tmp_path):
    saved = tmp_path / "config.yaml"
    saved.write_text("fake: {steps: 2}\n")
    house.store.submit(saved.read_text(), run_id="a", command="kd train", labels=JobLabels("a"))
    saved.write_text("fake: {steps: 9}\n")
    house.wait_ended("a", tick=house.supervisor())
    assert house.steps("a") == [1, 2]


def test_a_run_from_a_shell_is_adopted_followed_and_stopped(house):
    run = house.workspace.run("by-hand")
    run.create("data: {name: digits}\nfake: {steps: 1000, step_s: 0.02}\n", "kd train")
    supervisor = house.supervisor()
    trainer = subprocess.Popen([sys.executable, str(house.trainer_command(house.submit("q"))[1]), str(run.path)])
    house.processes.append(trainer)
    house.wait(lambda: house.store.find("by-hand"), tick=supervisor)
    house.wait_state("by-hand", State.RUNNING, tick=supervisor)
    assert house.store.get("by-hand").slot is None
    house.store.request_stop("by-hand")
    house.wait_ended("by-hand", tick=supervisor)
    assert house.state("by-hand") is State.STOPPED and trainer.wait(5) == 143


def test_a_stopped_job_resumed_from_a_shell_is_followed_again(house):
    house.submit("a", steps=30, step_s=0.02)
    house.store.cancel("a")
    supervisor = house.supervisor()
    supervisor.tick()
    trainer = subprocess.Popen(house.trainer_command(house.store.get("a")))
    house.processes.append(trainer)
    house.wait_state("a", State.RUNNING, tick=supervisor)
    trainer.wait(10)
    house.wait_state("a", State.FINISHED, tick=supervisor)


def test_a_shell_run_that_dies_is_lost(house):
    run = house.workspace.run("by-hand")
    run.create("{}", "kd train")
    gone = subprocess.Popen(["sleep", "0"])
    identity = process_identity(gone.pid)
    gone.wait()
    run.update_status(state=State.RUNNING, process=identity)
    supervisor = house.supervisor()
    house.wait(lambda: house.store.find("by-hand") and house.state("by-hand").ended, tick=supervisor)
    assert (house.state("by-hand"), run.state()) == (State.LOST, State.LOST)


def test_a_frozen_trainer_is_stalled_but_alive(house):
    house.submit("a", freeze=True, deaf=True)
    supervisor = house.supervisor(stop_grace_s=0.1)
    house.wait_state("a", State.RUNNING, tick=supervisor)
    run = house.workspace.run("a")
    assert not stalled(run) and stalled(run, time.time() + 61)
    assert is_alive(house.store.get("a").identity)


def test_the_child_sees_its_place_and_no_secret(house, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "hush")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///x")
    house.submit("a", show_env=True)
    house.wait_ended("a", tick=house.supervisor())
    seen = json.loads((house.workspace.run("a").path / "env.json").read_text())
    assert "SECRET_KEY" not in seen and seen["MLFLOW_TRACKING_URI"] == "sqlite:///x"
    assert (seen["KD_HOME"], seen["KD_RUN_ID"]) == (str(house.workspace.root), "a")
    assert seen["CUDA_VISIBLE_DEVICES"] == "" and "PATH" in seen


def test_each_job_sees_the_device_it_asked_for_alone(house):
    """Two cards with room for one job each: ``cuda:1`` runs on the second, a job for the CPU takes neither."""
    machine = FakeNvml(Card(FIRST), Card(SECOND))
    slots = Placement(Nvml(machine).inventory, {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"})
    wanted = {"second": "cuda:1", "cpu": "cpu", "any": "", "third": "cuda:2", "late": "cuda:1"}
    for name, device in wanted.items():
        house.submit(name, device=device, show_env=True, steps=400)
    supervisor = house.supervisor(placement=slots)
    house.wait(lambda: all(house.starts(name) for name in ("second", "cpu", "any")), tick=supervisor)
    rows = {name: house.store.get(name) for name in wanted}
    assert {name: (rows[name].slot, rows[name].device) for name in ("second", "cpu", "any")} == {
        "second": ("gpu:1", SECOND), "cpu": ("cpu:0", ""), "any": ("gpu:0", FIRST)
    }  # fmt: skip
    assert "it has a job" in rows["third"].message or "cuda:2, which is not here" in rows["third"].message
    assert rows["late"].state is State.QUEUED
    for name in ("second", "cpu", "any"):
        file = house.workspace.run(name).path / "env.json"
        house.wait(lambda file=file: file.exists() and file.read_text().endswith("}"))
        seen = json.loads(file.read_text())
        assert (seen["CUDA_VISIBLE_DEVICES"], seen["CUDA_DEVICE_ORDER"]) == (rows[name].device, "PCI_BUS_ID")
        assert as_placed(wanted[name] or "auto", seen) == {"second": "cuda", "cpu": "cpu", "any": "auto"}[name]
        assert SECOND in house.workspace.run("second").log_file.read_text()
    for name in wanted:
        house.store.request_kill(name)
    house.wait_ended(*wanted, tick=supervisor)


def test_a_run_that_misses_its_gpu_is_told_why(house):
    house.submit("a", show_env=True)
    slots = Placement(Nvml(FakeNvml(init=pynvml.NVML_ERROR_NO_PERMISSION)).inventory, {})
    house.wait_ended("a", tick=house.supervisor(placement=slots))
    seen = json.loads((house.workspace.run("a").path / "env.json").read_text())
    assert seen["CUDA_VISIBLE_DEVICES"] == "" and "insufficient permissions" in why_no_gpu("auto", seen)


def test_an_unwritten_end_is_mended_into_the_status_file(house):
    house.submit("a")
    run = house.workspace.run("a")
    house.store.change("a", {State.QUEUED}, state=State.LOST, reason="lost", message="gone", told=True)
    long_ago = time.time() - 60
    os.utime(run.status_file, (long_ago, long_ago))
    supervisor = house.supervisor()
    supervisor.tick()
    assert (run.status()["state"], run.status()["message"]) == ("lost", "gone")


def test_the_second_supervisor_leaves(house):
    house.start_supervisor()
    house.wait(lambda: supervisor_alive(house.workspace))
    first = supervisor_identity(house.workspace)
    second = house.start_supervisor()
    assert second.wait(10) == 0 and b"left" in second.stderr.read()
    assert supervisor_identity(house.workspace)["pid"] == first["pid"]


def test_ensure_starts_one_for_two_callers_and_stop_ends_it(house):
    argv = [sys.executable, str(house.trainer_command(house.submit("a"))[1]).replace("trainer", "supervisor")]
    found: list[dict] = []
    threads = [
        threading.Thread(target=lambda: found.append(ensure_supervisor(house.workspace, argv))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert len(found) == 2 and found[0]["pid"] == found[1]["pid"] and found[0]["boot_id"] == boot_id()
        house.wait_ended("a")
    finally:
        assert stop_supervisor(house.workspace)
    assert not supervisor_alive(house.workspace) and not stop_supervisor(house.workspace)


def test_a_keeper_starts_a_dead_supervisor_again(house):
    argv = [sys.executable, str(house.trainer_command(house.submit("a"))[1]).replace("trainer", "supervisor")]
    first = ensure_supervisor(house.workspace, argv)
    keeper = Keeper(house.workspace, every_s=0.05, argv=argv)
    keeper.start()
    try:
        os.kill(first["pid"], signal.SIGKILL)
        house.wait(lambda: (supervisor_identity(house.workspace) or first)["pid"] != first["pid"])
        house.submit("b")
        house.wait_ended("a", "b")
    finally:
        keeper.stop()
        assert stop_supervisor(house.workspace)


def test_a_supervisor_that_cannot_start_says_why(house):
    with pytest.raises(KdError, match="boom"):
        ensure_supervisor(house.workspace, [sys.executable, "-c", "raise ValueError('boom')"])


def test_nobody_goes_on_waiting_for_a_job_that_has_finished(house):
    """With one slot, those behind the first say what they wait for now, not what they waited for once."""
    supervisor = house.supervisor()
    house.submit("teacher", steps=3)
    house.submit("first", after="teacher", steps=200, step_s=0.05)
    house.submit("second", after="teacher", steps=200, step_s=0.05)
    house.submit("third", after="teacher", steps=1)
    house.wait(lambda: "waits for teacher" in (house.store.get("third").message or ""), tick=supervisor)
    house.wait_state("first", State.RUNNING, tick=supervisor)
    supervisor.tick()
    for name in ("second", "third"):
        assert house.store.get(name).message == "waits for a slot: 1 of 1 in use (KD_CPU_SLOTS)"
    for name in ("third", "second"):
        house.store.cancel(name)
    house.store.request_kill("first")
    house.wait_ended("first", tick=supervisor)
