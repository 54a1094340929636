"""Looks at a stranger's archive in a process of its own, which may take only so much time and memory.

The limits of `kdengine.data.sources.containers` stop what is known to be nasty; this stops what is not known yet, and
leaves the process that asks as it was. ``python -m kdengine.data.sources.examine`` is that process.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from kdengine.data.sources.containers import Container, open_container
from kdengine.data.sources.image_files import CorruptImage, PixelBudget, open_image, transparent
from kdengine.data.sources.layout import Layout, Unclear, find_layout
from kdengine.data.sources.names import readable
from kdengine.data.sources.oddities import Oddities, Tally
from kdengine.data.wording import SHOWN, some
from kdengine.errors import BadInput, DataError, Problem
from kdengine.processes import live_with_parent

MEMORY_BYTES = 1 << 30
PATIENCE_S = 30.0
PATIENCE_S_PER_MIB = 0.5
WATCH_S = 0.5
REPORT_S = 0.2

Progress = Callable[[float, str], object]


@dataclass(frozen=True)
class Found:
    """What an archive holds.

    Args:
        classes: class names.
        train, test: number of images.
        corrupt: how many of them cannot be opened; ``examples`` names some, and why.
        oddities: what else is to be known of those that open.
        unclear: why it is unclear which folders are classes, when the person must say it; else "".
        left_out: what lies there and is no sample, a sentence each.
    """

    classes: tuple[str, ...]
    train: int
    test: int
    corrupt: int
    examples: tuple[str, ...]
    oddities: Oddities
    unclear: str = ""
    left_out: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Found:
        """From what ``dataclasses.asdict`` made, by way of JSON."""
        odd = Oddities(**_without_lists(found["oddities"]))
        return cls(**_without_lists(found | {"oddities": odd}))


def _without_lists(found: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}


def check_archive(
    path: Path,
    progress: Progress | None = None,
    *,
    name: str = "",
    memory_bytes: int = MEMORY_BYTES,
    patience_s: float | None = None,
) -> Found:
    """Whether a folder or archive reads as a data set of images, found by a child process that can do no harm.

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
                raise BadInput(f"reading {name} ended without a result (exit code {code}); pack the images anew")
            if "problems" in line:
                raise BadInput([Problem("", problem) for problem in line["problems"]])
            if "found" in line:
                return Found.from_json(line["found"])
            if progress is not None:
                progress(line["share"], line["what"])


@contextlib.contextmanager
def _child(path: Path, name: str, memory_bytes: int) -> Iterator[tuple[subprocess.Popen[bytes], queue.Queue[Any]]]:
    words = [
        sys.executable,
        "-m",
        "kdengine.data.sources.examine",
        str(os.getpid()),
        str(memory_bytes),
        str(path),
        name,
    ]
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
    with contextlib.suppress(ImportError, OSError, ValueError):  # not every system has this limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(memory_bytes), int(memory_bytes)))
    try:
        result: dict[str, Any] = {"found": asdict(_examine(open_container(Path(path), name)))}
    except DataError as error:
        result = {"problems": error.problems}
    except MemoryError:
        result = {"problems": [f"{name} takes more than {int(memory_bytes) >> 20} MiB of memory to be read"]}
    except Exception as error:
        result = {"problems": [f"{name} cannot be read: {type(error).__name__}: {error}"]}
    _report(result)


def _examine(container: Container) -> Found:
    _report({"share": 0.0, "what": "reading the names"})
    listing = container.listing()
    unclear = ""
    try:
        layout = find_layout(listing, container.name, by_image=True)
    except Unclear as error:
        unclear = str(error)
        layout = find_layout(listing, container.name, "classes", by_image=True)
    oddities, corrupt = _open_all(container, layout)
    counts = zip(layout.classes, oddities.train, oddities.test, strict=True)
    bare = [name for name, train, test in counts if not train + test]
    if bare:
        why = f"; e.g. {corrupt[0]}" if corrupt else ""
        raise DataError(f"{container.name} has {len(bare)} class(es) without an image that opens: {some(bare)}{why}")
    return Found(
        classes=layout.classes,
        train=layout.train_count,
        test=len(layout.paths) - layout.train_count,
        corrupt=len(corrupt),
        examples=tuple(corrupt[:SHOWN]),
        oddities=oddities,
        unclear=unclear,
        left_out=layout.left_out,
    )


def _open_all(container: Container, layout: Layout) -> tuple[Oddities, list[str]]:
    """Opens every image, and decodes those alone that may be transparent. Returns what they show, and words about those
    that do not open."""
    budget, tally = PixelBudget(container.name), Tally(len(layout.classes))
    rows = {path: row for row, path in enumerate(layout.paths)}
    corrupt = []
    reported = time.monotonic()
    for number, (path, content) in enumerate(container.read(frozenset(layout.paths))):
        try:
            image = open_image(content)
            budget.spend(image, content)
            part = "train" if rows[path] < layout.train_count else "test"
            label = int(layout.labels[rows[path]])
            tally.add(readable(path), part, label, content, image.size, transparent(image))
        except CorruptImage as error:
            corrupt.append(f"{readable(path)}: {error if content else 'empty, too large or not readable'}")
        if time.monotonic() - reported > REPORT_S:
            reported = time.monotonic()
            _report({"share": number / len(layout.paths), "what": f"image {number:,} of {len(layout.paths):,}"})
    return tally.result(), corrupt


def _report(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
