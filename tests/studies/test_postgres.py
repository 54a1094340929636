"""Several controllers on one PostgreSQL study, each in a workspace of its own: no trial twice, the budget exact."""

from __future__ import annotations

import gc
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from mill import Mill, small_plan
from optuna.trial import TrialState
from support import PATIENCE_S

from kdengine.workspace import Workspace
from studies import actions as control
from studies import storage
from studies.trials import OWNER, SURPLUS


def programs() -> Path:
    """Where PostgreSQL's programs are: Debian keeps them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "")]
    assert found[-1].is_file(), "no PostgreSQL here: apt-get install postgresql (`make test` does it where it may)"
    return found[-1].parent


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of a real server on a free loopback port; it will not run as root."""
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    folder = Path(tempfile.mkdtemp(prefix="kd-postgres-"))
    shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def call(program: str, *words: str) -> None:
        done = subprocess.run(
            [str(programs() / program), *words], user=user, cwd=folder, capture_output=True, text=True,
            timeout=PATIENCE_S, env={"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(folder)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    data = folder / "data"
    call("initdb", "-D", str(data), "-U", "kd", "--auth=trust", "--encoding=UTF8", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    call("pg_ctl", "-D", str(data), "-l", str(folder / "log"), "-w", "-o", options, "start")
    try:
        yield f"postgresql+psycopg://kd@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def test_two_controllers_share_a_study(
    mill: Mill, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KD_STUDY_STORAGE", server)
    plan = mill.begin(small_plan("shared", budget={"trials": 13}, sampler="random"))
    other = Mill(Workspace(tmp_path / "elsewhere"))
    control.resume(plan.name, other.workspace)
    failures: list[BaseException] = []

    def work(one: Mill) -> None:
        try:
            one.work(plan)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(one,)) for one in (mill, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not failures
    study = storage.open_study(storage.connect(mill.workspace), plan.name)
    states = Counter(trial.state for trial in study.trials)
    assert states[TrialState.COMPLETE] + states[TrialState.PRUNED] == 13 and not states[TrialState.RUNNING]
    owners = {trial.number: trial.user_attrs[OWNER] for trial in study.trials if not trial.user_attrs.get(SURPLUS)}
    assert len(set(owners.values())) == 2, "both took part"
    for one in (mill, other):
        mine = {number for number, owner in owners.items() if owner.endswith(str(one.workspace.root))}
        assert {job.id for job in one.runs()} == {plan.run_id(number, 0) for number in mine}
    assert len(mill.runs()) + len(other.runs()) == 13


def test_a_storage_that_nobody_holds_closes_its_connections(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KD_STUDY_STORAGE", server)
    gc.collect()
    before = connections(server)
    held = storage.connect(Workspace(tmp_path))
    thread = threading.Thread(target=storage.names, args=(held,))
    thread.start()
    thread.join(PATIENCE_S)
    assert connections(server) > before
    del held, thread
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        gc.collect()
    assert not said
    assert connections(server) == before


def connections(server: str) -> int:
    """How many others the server has."""
    with psycopg.connect(server.replace("+psycopg", ""), connect_timeout=PATIENCE_S) as db:
        found = db.execute("select count(*) from pg_stat_activity where usename = 'kd' and pid <> pg_backend_pid()")
        return int(found.fetchone()[0])  # type: ignore[index]
