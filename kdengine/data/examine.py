"""Looks at a stranger's archive in a process of its own, which may take only so much time and memory.

The limits of `kdengine.data.containers` stop what is known to be nasty; this stops what is not known yet, and leaves
the process that asks as it was. ``python -m kdengine.data.examine`` is that process.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from kdengine.children import live_with_parent
from kdengine.data.containers import Container, open_container
from kdengine.data.layout import Layout, Unclear, find_layout
from kdengine.data.names import readable
from kdengine.data.pictures import CorruptPicture, PixelBudget, open_image
from kdengine.data.wording import SHOWN, some
from kdengine.errors import BadInput, DataError, Problem

MEMORY_BYTES = 1 << 30
PATIENCE_S = 30.0
PATIENCE_S_PER_MIB = 0.5
WATCH_S = 0.5
TELL_S = 0.2

Progress = Callable[[float, str], object]


@dataclass(frozen=True)
class Found:
    """What an archive holds.

    Args:
        classes: class names.
        train, test: number of images.
        corrupt: how many of them cannot be opened; ``examples`` names some, and why.
        unclear: why it cannot be told which folders are classes, when the person must say it; else "".
    """

    classes: tuple[str, ...]
    train: int
    test: int
    corrupt: int
    examples: tuple[str, ...]
    unclear: str = ""


def check_archive(
    path: Path,
    progress: Progress | None = None,
    *,
    name: str = "",
    memory_bytes: int = MEMORY_BYTES,
    patience_s: float | None = None,
) -> Found:
    """Whether a folder or archive reads as a data set of images, told by a child process that can do no harm.

    Args:
        path: the archive.
        progress: called now and then with the share done, 0..1, and what is going on.
        name: what messages call it; default the file's name.
        memory_bytes: how much address space the child may take.
        patience_s: how long it may take; default 30 s and half a second more for each MiB.

    Raises:
        BadInput: every problem found; or that it takes more time or memory than an archive of its size does.
    """
    name = readable(name or path.name)
    if patience_s is None:
        patience_s = PATIENCE_S + PATIENCE_S_PER_MIB * (path.stat().st_size / (1 << 20) if path.is_file() else 0)
    with _child(path, name, memory_bytes) as (child, lines):
        deadline = time.monotonic() + patience_s
        while True:
            try:
                line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise BadInput(
                    f"{name} was not read within {patience_s:.0f} s, far longer than an archive of its size takes; "
                    "pack the images anew as a plain .zip"
                ) from None
            if line is None:
                code = child.wait()
                raise BadInput(f"looking at {name} ended without an answer (exit code {code}); pack the images anew")
            if "problems" in line:
                raise BadInput([Problem("", problem) for problem in line["problems"]])
            if "found" in line:
                found = line["found"]
                return Found(**found | {key: tuple(found[key]) for key in ("classes", "examples")})
            if progress is not None:
                progress(line["share"], line["what"])


@contextlib.contextmanager
def _child(path: Path, name: str, memory_bytes: int) -> Iterator[tuple[subprocess.Popen[bytes], queue.Queue[Any]]]:
    words = [sys.executable, "-m", "kdengine.data.examine", str(os.getpid()), str(memory_bytes), str(path), name]
    # Threads of linear algebra, of which there is none, would take address space, more on a machine with many cores.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    assert child.stdout is not None
    lines: queue.Queue[Any] = queue.Queue()
    reader = threading.Thread(target=_read_lines, args=(child.stdout, lines), daemon=True)
    reader.start()
    try:
        yield child, lines
    finally:
        child.kill()
        child.wait()
        reader.join()
        child.stdout.close()


def _read_lines(stream: IO[bytes], lines: queue.Queue[Any]) -> None:
    for line in stream:
        lines.put(json.loads(line))
    lines.put(None)


def main(arguments: list[str]) -> None:
    """The child: writes JSON objects, a line each: ``share`` and ``what``, at the end ``found`` or ``problems``."""
    parent, memory_bytes, path, name = arguments
    live_with_parent(int(parent), WATCH_S)
    with contextlib.suppress(OSError, ValueError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_AS, (int(memory_bytes), int(memory_bytes)))
    try:
        answer: dict[str, Any] = {"found": asdict(_examine(open_container(Path(path), name)))}
    except DataError as error:
        answer = {"problems": error.problems}
    except MemoryError:
        answer = {"problems": [f"{name} takes more than {int(memory_bytes) >> 20} MiB of memory to be read"]}
    except Exception as error:
        answer = {"problems": [f"{name} cannot be read: {type(error).__name__}: {error}"]}
    _tell(answer)


def _examine(container: Container) -> Found:
    _tell({"share": 0.0, "what": "reading the names"})
    listing = container.listing()
    unclear = ""
    try:
        layout = find_layout(listing, container.name)
    except Unclear as error:
        unclear = str(error)
        layout = find_layout(listing, container.name, "classes")
    opened, corrupt = _open_all(container, layout)
    counts = {name: 0 for name in layout.classes}
    for path, label in zip(layout.paths, layout.labels, strict=True):
        counts[layout.classes[label]] += path in opened
    bare = [name for name, count in counts.items() if not count]
    if bare:
        why = f"; e.g. {corrupt[0]}" if corrupt else ""
        raise DataError(f"{container.name} has {len(bare)} class(es) without an image that opens: {some(bare)}{why}")
    return Found(
        classes=layout.classes,
        train=layout.train_count,
        test=len(layout.paths) - layout.train_count,
        corrupt=len(corrupt),
        examples=tuple(corrupt[:SHOWN]),
        unclear=unclear,
    )


def _open_all(container: Container, layout: Layout) -> tuple[set[str], list[str]]:
    """Reads every image and opens it, without decoding it. Returns the paths that open, and words about the others."""
    budget = PixelBudget(container.name)
    opened: set[str] = set()
    corrupt = []
    told = time.monotonic()
    for number, (path, content) in enumerate(container.read(frozenset(layout.paths))):
        try:
            budget.spend(open_image(content), content)
            opened.add(path)
        except CorruptPicture as error:
            corrupt.append(f"{readable(path)}: {error if content else 'empty, too large or not readable'}")
        if time.monotonic() - told > TELL_S:
            told = time.monotonic()
            _tell({"share": number / len(layout.paths), "what": f"image {number:,} of {len(layout.paths):,}"})
    return opened, corrupt


def _tell(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
