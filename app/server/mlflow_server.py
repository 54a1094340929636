"""``python mlflow_server.py PARENT COMMAND...``: runs a command that ends with its parent, however that ends.

MLflow's command line starts a server as a child of its own, so it is not enough to end one process: all are in this
process's group, and the group is ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import NoReturn

POLL_S = 0.5
GRACE_S = 5.0


def main(parent: int, command: list[str]) -> NoReturn:
    """Runs the command until it, or the process with the id ``parent``, ends, or SIGTERM comes.

    This process must lead a group of its own.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    child = subprocess.Popen(command)
    try:
        while os.getppid() == parent:
            with suppress(subprocess.TimeoutExpired):
                sys.exit(child.wait(POLL_S))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
        os.killpg(0, signal.SIGKILL)
    raise AssertionError("this process was in the group")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
