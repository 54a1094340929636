"""Runs as training leaves them, made without any: spec, status, events and a row in the queue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from support import tiny_spec

from kdengine.jobs import JobStore
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

STEPS = 20
"""Steps of an epoch; every second one is logged."""


def make_run(
    workspace: Workspace,
    run_id: str,
    accuracies: Sequence[float] = (),
    *,
    state: State = State.FINISHED,
    test: float | None = None,
    created: float = 1_790_000_000.0,
    status: dict[str, Any] | None = None,
    **changes: Any,
) -> RunDirectory:
    """A run with its row.

    Args:
        workspace: where.
        run_id: its id.
        accuracies: on the validation part, 0..1, one for each epoch.
        state: as it was left.
        test: accuracy on the test part.
        created: when, in seconds since 1970.
        status: what else its status says.
        changes: of the experiment, as `support.tiny_spec` takes them.
    """
    spec = tiny_spec(**changes)
    run = workspace.run(run_id)
    run.create(spec.to_yaml(), spec.command())
    run.events_file.write_text("".join(json.dumps(event) + "\n" for event in _events(accuracies, created)))
    said: dict[str, Any] = {"created": created, "started": created, "fingerprint": spec.fingerprint(), "state": state}
    if accuracies:
        best = max(accuracies)
        said["best"] = {"accuracy": best, "epoch": 1 + list(accuracies).index(best)}
        said["progress"] = {
            "epoch": len(accuracies),
            "epochs": max(spec.recipe.epochs, len(accuracies)),
            "step": 0,
            "steps": STEPS,
        }
    if test is not None:
        said["test"] = {"best": {"accuracy": test}, "last": {"accuracy": test - 0.01}}
    if state.ended:
        said["ended"] = created + 60 * max(1, len(accuracies))
    run.update_status(**said | (status or {}))
    store = JobStore(workspace)
    job = store.adopt(run)
    assert job is not None
    if job.state != state:
        store.change(run_id, set(State), state=state)
    store.change(run_id, set(State), submitted=created, started=created, ended=said.get("ended"))
    return run


def _events(accuracies: Sequence[float], created: float) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for epoch, accuracy in enumerate(accuracies, 1):
        common = {"attempt": 1, "epoch": epoch, "lr": 0.1 / epoch, "images_per_s": 400.0 + epoch}
        for step in range(2, STEPS + 1, 2):
            at = (epoch - 1) * STEPS + step
            terms = {"ce": {"raw": 3 / at, "weighted": 0.3 / at}, "soft": {"raw": 5 / at, "weighted": 4.5 / at}}
            moment = {"kind": "step", "time": created + at, "step": at, "loss": 4.8 / at, "terms": terms}
            events.append(common | moment)
        validation = {"accuracy": accuracy, "top5": 1.0, "loss": 2 * (1 - accuracy), "ece": 0.1}
        summed = {"kind": "epoch", "time": created + STEPS * epoch, "loss": 1 / epoch, "validation": validation}
        events.append(common | summed | {"terms": terms, "best": True})
    return events
