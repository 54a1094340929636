"""Cached logits of a teacher: for identical views alone, equal to live ones, shared by runs, thrown away if wrong."""

from __future__ import annotations

import errno
import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support import NORM, TinyNet, distilled_spec, make_workspace
from torch import Tensor

from kdengine import ExperimentSpec, run
from kdengine.data.batches.augmentation import Augmentation
from kdengine.data.batches.loader import Batch, BatchLoader
from kdengine.data.bundle import Part
from kdengine.methods import get_method
from kdengine.methods.base import Needs
from kdengine.training.cached_logits import (
    CachedTeacher,
    LogitsTable,
    TableKey,
    cacheable,
    expected_live,
    filled_share,
    open_table,
)
from kdengine.training.teacher import FrozenTeacher
from kdengine.workspace import files

CPU = torch.device("cpu")
CROP_FLIP = Augmentation(crop_padding=1, flip=True)
KEY = TableKey("teacher", "data", samples=40, views="crop and flip", slots=18, width=5, precision="fp32")


def loader(augmentation: Augmentation | None = CROP_FLIP, views: int = 1, seed: int = 0) -> BatchLoader:
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    part = Part(images, np.arange(40), np.arange(40) % 5)
    mean, std = NORM
    return BatchLoader(
        part, batch_size=20, mean=mean, std=std, device=CPU, seed=seed, augmentation=augmentation, shuffle=True,
        drop_last=True, views=views,
    )  # fmt: skip


def teacher(seed: int = 0) -> FrozenTeacher:
    torch.manual_seed(seed)
    mean, std = NORM
    return FrozenTeacher(TinyNet(), mean=mean, std=std, batch_mean=mean, batch_std=std, device=CPU)


@pytest.mark.parametrize(
    "augmentation",
    [
        None,
        Augmentation(flip=True),
        Augmentation(crop_padding=2),
        CROP_FLIP,
        Augmentation(rotation=20),
        Augmentation(cutout=4),
    ],
)
@pytest.mark.parametrize("views", [1, 2])
def test_a_view_is_made_again_from_its_number(augmentation: Augmentation | None, views: int) -> None:
    batches = loader(augmentation, views)
    for epoch in (0, 3):
        for batch in batches.epoch(epoch):
            assert batch.drawn is not None and torch.equal(batch.drawn.rows, batch.index)
            for view, slots in zip(batch.views, batch.drawn.slots, strict=True):
                assert torch.equal(batches.views_at(batch.drawn.rows, slots), view)


def test_views_that_differ_have_different_numbers() -> None:
    """The known mistake is a cache that knows the image and forgets how it was changed."""
    seen: dict[tuple[int, int], Tensor] = {}
    batches = loader()
    for epoch in range(30):
        for batch in batches.epoch(epoch):
            assert batch.drawn is not None
            for row, slot, view in zip(batch.index.tolist(), batch.drawn.slots[0].tolist(), batch.image, strict=True):
                assert 0 <= slot < 18
                assert torch.equal(seen.setdefault((row, slot), view.clone()), view)
    by_image: dict[int, list[Tensor]] = {}
    for (row, _), view in seen.items():
        assert not any(torch.equal(view, other) for other in by_image.get(row, []))
        by_image.setdefault(row, []).append(view)


def test_cached_logits_equal_live_ones_and_cost_no_forward_pass(tmp_path: Path) -> None:
    live = teacher()
    with open_table(tmp_path, KEY) as table:
        first = CachedTeacher(live, table)
        given = [(batch, first.outputs_for(batch)(batch.image)) for batch in loader().epoch(0)]
        assert (first.read, first.computed) == (0, 40)
        for batch, outputs in given:
            torch.testing.assert_close(outputs.logits, live(batch.image).logits, rtol=1e-5, atol=1e-6)
    assert 0 < filled_share(tmp_path, KEY) <= 40 / (40 * 18)
    with open_table(tmp_path, KEY) as table:
        again = CachedTeacher(live, table)
        for (_, outputs), batch in zip(given, loader().epoch(0), strict=True):
            assert torch.equal(again.outputs_for(batch)(batch.image).logits, outputs.logits)
        assert (again.read, again.computed) == (40, 0)


def test_embeddings_are_stored_where_a_method_reads_them(tmp_path: Path) -> None:
    live = teacher()
    with open_table(tmp_path, replace(KEY, width=5 + 10)) as table:
        quick = CachedTeacher(live, table)
        batch = next(loader().epoch(0))
        torch.testing.assert_close(quick.outputs_for(batch)(batch.image).embedding, live(batch.image).embedding)
    assert cacheable(Needs(teacher=("logits", "embedding"))) and not cacheable(Needs(teacher=("logits", "stages")))
    assert not cacheable(Needs())


def test_what_a_method_did_to_a_view_is_not_stored(tmp_path: Path) -> None:
    live = teacher()
    cls = get_method("multi_level")
    with open_table(tmp_path, KEY) as table:
        quick = CachedTeacher(live, table)
        batch = next(loader(views=2).epoch(0))
        plain, changed = batch.views[0], batch.views[1] * 2
        given = quick.outputs_for(replace(batch, views=(plain, changed)))
        torch.testing.assert_close(given(changed).logits, live(changed).logits)
        assert quick.computed == 20 and filled_share(tmp_path, KEY) == pytest.approx(20 / 720, abs=1e-3)
        blended = Batch((plain * 2,), batch.target, batch.index)
        torch.testing.assert_close(quick.outputs_for(blended)(blended.image).logits, live(plain * 2).logits)
    assert cls.requires(cls.Params()).views == 2, "the method that does so"


def test_a_wrong_table_is_found_and_forgotten(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    batches = loader()
    with open_table(tmp_path, KEY) as table:
        quick = CachedTeacher(teacher(), table)
        for batch in batches.epoch(0):
            quick.outputs_for(batch)
        assert quick.check(batches.views_at, 1)
        other = CachedTeacher(teacher(seed=1), table)
        with caplog.at_level(logging.WARNING):
            assert not other.check(batches.views_at, 1)
        assert "differ from live ones" in caplog.text and filled_share(tmp_path, KEY) == 0


def test_one_process_fills_and_others_read(tmp_path: Path) -> None:
    with open_table(tmp_path, KEY) as mine, files.lock(tmp_path / "nothing"):
        reader = LogitsTable(mine.folder, KEY, writable=False)
        cells = mine.cells(torch.tensor([3, 4]), torch.tensor([0, 17]))
        reader.write(cells, np.ones((2, 5), np.float32))
        assert not mine.known(cells).any()
        mine.write(cells, np.ones((2, 5), np.float32))
        assert reader.known(cells).all() and (reader.read(cells) == 1).all()
        assert not reader.known(mine.cells(torch.tensor([4, 3]), torch.tensor([0, 17]))).any()
        reader.close()


def test_a_full_disk_ends_the_storing_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    live = teacher()
    with open_table(tmp_path, KEY) as table, caplog.at_level(logging.WARNING):
        monkeypatch.setattr(os, "pwrite", full)
        quick = CachedTeacher(live, table)
        for batch in loader().epoch(0):
            torch.testing.assert_close(quick.outputs_for(batch)(batch.image).logits, live(batch.image).logits)
    assert caplog.text.count("are cached") == 1 and filled_share(tmp_path, KEY) == 0


@pytest.mark.parametrize(
    "change", [{"teacher": "x"}, {"data": "x"}, {"samples": 41}, {"views": "x"}, {"width": 6}, {"precision": "bf16"}]
)
def test_another_table_for_whatever_decides_the_logits(change: dict[str, object]) -> None:
    assert replace(KEY, **change).name != KEY.name  # type: ignore[arg-type]


def test_the_share_that_is_computed() -> None:
    assert expected_live(1, 10) == pytest.approx(0.1)
    assert expected_live(162, 240) == pytest.approx(1 - 0.48, abs=0.01)
    assert expected_live(162, 240, filled=1) == 0
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, 18, (2000, 12))
    live = np.mean([len(set(row)) for row in drawn.tolist()]) / 12
    assert expected_live(18, 12) == pytest.approx(live, rel=0.02)


def test_runs_share_logits_and_learn_the_same(tmp_path: Path, furnished: Path) -> None:
    """A second run of a seed reads all its logits and ends bit for bit as the first did; without the cache, nearly."""
    workspace = make_workspace(tmp_path / "home", furnished)
    spec = distilled_spec()
    first, second = (run(spec, workspace=workspace) for _ in range(2))
    counts = [workspace.run(done.run_id).status()["replay"] for done in (first, second)]
    assert counts[0]["computed"] > 0 and counts[1] == {"read": sum(counts[0].values()), "computed": 0}
    digests = [files.digest(workspace.run(done.run_id).last_student_file) for done in (first, second)]
    assert digests[0] == digests[1]
    off = spec.model_dump(mode="json") | {"runtime": spec.runtime.model_dump(mode="json") | {"replay": "off"}}
    plain = run(ExperimentSpec.from_mapping(off), workspace=workspace)
    assert "replay" not in workspace.run(plain.run_id).status()
    for one, other in zip(_losses(workspace.run(first.run_id)), _losses(workspace.run(plain.run_id)), strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def _losses(folder: object) -> list[float]:
    return [event["loss"] for event in folder.latest("epoch", "epoch")]  # type: ignore[attr-defined]
