"""A trainer that keeps the contract of kdengine/jobs/executor.py and learns nothing. Its spec says how it behaves.

Keys of the spec's ``fake``: steps, step_s, fail (text of the exception), die (signal it sends itself at step 2), silent
(ends without an outcome), workers (children that ignore SIGTERM), deaf (ignores SIGTERM itself), noise (bytes to
stderr), freeze (stops making steps), show_env (writes its environment to env.json).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from kdengine.jobs import RUNNING_LOCK, classify_exception
from kdengine.workspace import files
from kdengine.workspace.identity import process_identity
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

DEAF_WORKER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


def main(folder: str) -> int:
    run = RunDirectory(Path(folder))
    with files.lock(run.path / RUNNING_LOCK, blocking=False) as held:
        if not held:
            with (run.path / "refused.txt").open("a") as file:
                file.write("x\n")
            return 2
        return train(run)


def train(run: RunDirectory) -> int:
    fake = (yaml.safe_load(run.spec_file.read_text()) or {}).get("fake", {})
    stop_asked: list[int] = []
    signal.signal(signal.SIGTERM, signal.SIG_IGN if fake.get("deaf") else lambda number, _: stop_asked.append(number))
    attempt = run.status().get("attempt", 0) + 1
    run.update_status(state=State.STARTING, process=process_identity(home=run.home), attempt=attempt)
    with (run.path / "starts.txt").open("a") as file:
        file.write(f"{os.getpid()} {time.time()}\n")
    for _ in range(fake.get("workers", 0)):
        subprocess.Popen([sys.executable, "-S", "-c", DEAF_WORKER])
    if fake.get("show_env"):
        (run.path / "env.json").write_text(json.dumps(dict(os.environ)))
    sys.stderr.write("." * fake.get("noise", 0))
    try:
        return loop(run, fake, stop_asked)
    except Exception as error:
        failure = classify_exception(error)
        run.update_status(state=failure.state, exit_code=3, **failure._asdict())
        return 3


def loop(run: RunDirectory, fake: dict, stop_asked: list[int]) -> int:
    steps, checkpoint = fake.get("steps", 3), run.checkpoints / "step.txt"
    done = int(checkpoint.read_text()) if checkpoint.exists() else 0
    while done < steps:
        run.update_status(state=State.RUNNING, progress={"step": done, "steps": steps}, progress_at=time.time())
        time.sleep(fake.get("step_s", 0.01) if not fake.get("freeze") else 60)
        done += 1
        run.append_event({"kind": "step", "step": done})
        files.write_text(checkpoint, str(done))
        run.beat()
        if fake.get("fail"):
            raise RuntimeError(fake["fail"])
        if fake.get("die") and done == 2:
            os.kill(os.getpid(), fake["die"])
        if fake.get("silent"):
            return 7
        if stop_asked:
            run.update_status(state=State.STOPPED, reason="stopped", message="stopped with a checkpoint", exit_code=143)
            return 143
    run.update_status(state=State.FINISHED, exit_code=0)
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1]))
