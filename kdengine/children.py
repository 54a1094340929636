"""What a process of a pool does first: Ctrl-C is its parent's business, and it does not outlive a killed parent."""

from __future__ import annotations

import os
import signal
import threading
import time


def live_with_parent(parent: int, look_s: float) -> None:
    """To be called once, at the start of a child: leaves Ctrl-C to the parent, and ends with it, however that ends.

    Args:
        parent: process id of the parent, as the parent itself gave it: it may be gone before the child asks.
        look_s: seconds between two looks whether the parent is there.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(parent, look_s), daemon=True).start()


def _leave_with(parent: int, look_s: float) -> None:
    while os.getppid() == parent:
        time.sleep(look_s)
    os._exit(0)
