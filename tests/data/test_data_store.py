"""The store under two builders, a kill, damage and a full disk; and the splits that are made on it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support import PATIENCE_S

from kdengine.data import load_dataset
from kdengine.errors import DiskFull, KdError

BUILDER = """
import os, sys, time
import numpy as np
from pathlib import Path
from kdengine.data import DatasetDefinition, Source, load_dataset
from kdengine.registry import DATASETS

class Slow(DatasetDefinition):
    name = title = summary = citation = "slow"
    def identity(self, params, root): return "slow"
    def open(self, params, root):
        root.mkdir(parents=True, exist_ok=True)
        with (root / "opened").open("a") as file: file.write("x")
        labels = np.arange(40) % 2
        def blocks(size):
            for row in range(40):
                if row == 20:
                    (root / "half").touch()
                    time.sleep(float(os.environ["PAUSE"]))
                yield np.array([row]), np.full((1, size, size, 3), row, np.uint8)
        return Source(("a", "b"), labels, 30, blocks)

DATASETS.register("slow")(Slow())
bundle = load_dataset("slow", Path(sys.argv[1]) / "datasets", 8)
print(bundle.digest, bundle.train.images[:, 0, 0, 0].tolist() == list(range(40)))
"""


def start(workspace: Path, pause: float) -> subprocess.Popen[str]:
    environment = os.environ | {"PAUSE": str(pause)}
    command = [sys.executable, "-c", BUILDER, str(workspace)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_two_processes_build_once(tmp_path: Path) -> None:
    builders = [start(tmp_path, 1.0) for _ in range(2)]
    answers = [builder.communicate(timeout=PATIENCE_S) for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0], answers
    assert answers[0][0] == answers[1][0] and "True" in answers[0][0]
    assert (tmp_path / "datasets" / "opened").read_text() == "x"


def test_killed_while_building_is_built_anew(tmp_path: Path) -> None:
    builder = start(tmp_path, 600)
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "datasets" / "half").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    builder.send_signal(signal.SIGKILL)
    builder.communicate()
    stores = tmp_path / "cache" / "stores"
    assert [path.name.endswith(".building") for path in stores.iterdir() if path.is_dir()] == [True]
    again = start(tmp_path, 0)
    output, errors = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0 and "True" in output, errors
    assert [path.name.endswith(".building") for path in stores.iterdir() if path.is_dir()] == [False]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("images.npy", b"\x93NUMPY"),
        ("labels.npy", b""),
        ("meta.json", b"{"),
        ("meta.json", b"[]"),
        ("meta.json", b"{}"),
    ],
)
def test_damaged_store_is_built_again(tmp_path: Path, file: str, content: bytes) -> None:
    first = load_dataset("digits", tmp_path / "datasets", 8)
    expected = first.test.take(np.arange(10))
    (damaged,) = (tmp_path / "cache" / "stores").glob(f"*/{file}")
    damaged.unlink()
    damaged.write_bytes(content)
    again = load_dataset("digits", tmp_path / "datasets", 8)
    np.testing.assert_array_equal(again.test.take(np.arange(10)), expected)
    assert again.digest == first.digest


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [(errno.ENOSPC, DiskFull, "no space is left"), (errno.EROFS, KdError, "cannot write .* choose another KD_HOME")],
)
def test_full_or_read_only_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[KdError], text: str
) -> None:
    def fail(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", fail)
        with pytest.raises(kind, match=text):
            load_dataset("digits", tmp_path / "datasets", 8)
    assert not [path for path in (tmp_path / "cache" / "stores").iterdir() if path.is_dir()]
    assert len(load_dataset("digits", tmp_path / "datasets", 8).test) == 359


def test_sizes_have_stores_of_their_own(tmp_path: Path) -> None:
    small, large = (load_dataset("digits", tmp_path / "datasets", size) for size in (8, 16))
    assert small.train.images.shape[1:] == (8, 8, 3) and large.train.images.shape[1:] == (16, 16, 3)
    assert small.digest != large.digest


def test_parts_are_disjoint_stratified_and_seeded(tmp_path: Path) -> None:
    one = load_dataset("digits", tmp_path / "datasets", 8, validation=0.2, meta=0.1)
    assert one.meta is not None
    parts = [one.train, one.validation, one.test, one.meta]
    rows = np.concatenate([part.index for part in parts])
    assert len(rows) == len(set(rows.tolist())) == 1797
    train_all = np.bincount(np.concatenate([one.train.labels, one.validation.labels, one.meta.labels]))
    assert np.abs(np.bincount(one.validation.labels) - 0.2 * train_all).max() <= 0.5
    again = load_dataset("digits", tmp_path / "datasets", 8, validation=0.2, meta=0.1)
    for part, same in zip(parts, [again.train, again.validation, again.test, again.meta], strict=True):
        np.testing.assert_array_equal(part.index, same.index)
    assert again.digest == one.digest
    other = load_dataset("digits", tmp_path / "datasets", 8, validation=0.2, meta=0.1, split_seed=1)
    assert not np.array_equal(other.validation.index, one.validation.index)
    np.testing.assert_array_equal(other.test.index, one.test.index)
    assert other.digest != one.digest


def test_per_class_and_fraction_touch_only_train(tmp_path: Path) -> None:
    whole = load_dataset("digits", tmp_path / "datasets", 8)
    five = load_dataset("digits", tmp_path / "datasets", 8, per_class=5)
    ten = load_dataset("digits", tmp_path / "datasets", 8, per_class=10)
    tenth = load_dataset("digits", tmp_path / "datasets", 8, fraction=0.1)
    assert np.bincount(five.train.labels).tolist() == [5] * 10
    assert set(five.train.index) < set(ten.train.index) < set(whole.train.index)
    assert np.abs(np.bincount(tenth.train.labels) - np.bincount(whole.train.labels) / 10).max() <= 0.5
    for bundle in (five, ten, tenth):
        np.testing.assert_array_equal(bundle.validation.index, whole.validation.index)
        np.testing.assert_array_equal(bundle.test.index, whole.test.index)
    assert load_dataset("digits", tmp_path / "datasets", 8, fraction=1.0).digest == whole.digest
    assert len({whole.digest, five.digest, ten.digest, tenth.digest}) == 4


PINNED_VALIDATION = [15, 30, 38, 41, 44]
PINNED_DIGEST = "56f49c66ed7c43d2f4aebd4f4f02e2e6e15bfb86f525113bb9251756f8957d57"


def test_split_does_not_move_between_machines(tmp_path: Path) -> None:
    bundle = load_dataset("digits", tmp_path / "datasets", 8)
    assert bundle.validation.index[:5].tolist() == PINNED_VALIDATION
    assert bundle.digest == PINNED_DIGEST
