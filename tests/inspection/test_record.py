"""Arrays that a run stores while it trains: which, when, and that looking changes nothing."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from looking import subject_of
from support import bench, distilled_spec, tiny_spec

from kdengine import run
from kdengine.errors import BadInput
from kdengine.inspection import looking
from kdengine.inspection import recordings as store
from kdengine.inspection.gradients import gradient_norms
from kdengine.inspection.looking import chosen, epochs, history, look, offered
from kdengine.inspection.panels import GRAPHED, MAPS, PANELS, panel
from kdengine.inspection.record import Recorder, epochs_to_record, recorded
from kdengine.jobs.beside import Beside
from kdengine.models.stored import read_card, read_tensors, write_card
from kdengine.workspace import Workspace


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory, furnished: Path) -> Workspace:
    """A distilled run that was looked at and keeps its first epoch, and an equal one that was not."""
    from support import make_workspace

    workspace = make_workspace(tmp_path_factory.mktemp("looked-at") / "home", furnished)
    for name, inspect in (("seen", 2), ("unseen", 0)):
        spec = distilled_spec(method="grkd", runtime={"inspect": inspect, "keep_epochs": [1]})
        run(spec, run_id=name, workspace=workspace)
    return workspace


def test_epochs_are_spread_from_the_untrained_net_to_the_last() -> None:
    assert epochs_to_record(240, 6) == (0, 40, 80, 120, 160, 200, 240)
    assert epochs_to_record(2, 6) == (0, 1, 2)
    assert epochs_to_record(5, 1) == (0, 5)
    assert epochs_to_record(5, 0) == ()


def test_looking_changes_no_weight(looked_at: Workspace) -> None:
    seen, unseen = looked_at.run("seen"), looked_at.run("unseen")
    for name in ("student_file", "last_student_file", "method_file"):
        ours, theirs = read_tensors(getattr(seen, name)), read_tensors(getattr(unseen, name))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs) and ours.keys() == theirs.keys()
    assert seen.status()["test"] == unseen.status()["test"]


def test_what_was_recorded_is_there_and_finite(looked_at: Workspace) -> None:
    seen = looked_at.run("seen")
    assert store.epochs(seen) == [0, 1, 2] and store.epochs(looked_at.run("unseen")) == []
    images = store.read_images(seen)
    assert images is not None and len(images) == min(GRAPHED, seen.status()["data"]["validation"])
    assert sorted(images.labels[:10].tolist()) == list(range(10)), "one of each class first"
    for epoch in (0, 1, 2):
        for name, one in PANELS.items():
            if one.images or name == "gradients":
                arrays = store.read(seen, epoch, name)
                assert name == "importance" or name == "method" or arrays, name
                assert all(np.isfinite(values).all() for values in arrays.values()), (epoch, name)
    assert len(store.read(seen, 2, "attention")["student_1"]) == min(MAPS, len(images))


def test_the_stored_arrays_are_those_of_the_stored_weights(looked_at: Workspace) -> None:
    seen = looked_at.run("seen")
    for what in ("attention", "graph", "classes", "exits"):
        stored = look(looked_at, seen, what, 1)
        images = chosen(looked_at, seen, panel(what).images)
        anew = look(looked_at, seen, what, 1, images)
        assert np.array_equal(stored.pixels, anew.pixels)
        for name, values in anew.arrays.items():
            assert stored.arrays[name] == pytest.approx(values, rel=1e-3, abs=1e-4, nan_ok=True), (what, name)
    ordered, plain = look(looked_at, seen, "classes", 1).arrays, store.read(seen, 1, "classes")
    assert np.array_equal(ordered["student"], plain["student"][np.ix_(ordered["order"], ordered["order"])])
    last = look(looked_at, seen, "attention", "last")
    assert last.arrays["student_1"] == pytest.approx(
        look(looked_at, seen, "attention", 2).arrays["student_1"], rel=1e-3, abs=1e-4
    )
    first = look(looked_at, seen, "attention", 0).arrays["student_1"]
    assert not np.allclose(first, last.arrays["student_1"], rtol=0.05), "training changed nothing?"


def test_numbers_are_followed_over_the_epochs(looked_at: Workspace) -> None:
    seen = looked_at.run("seen")
    followed = history(seen, panel("graph"))
    assert followed["epochs"].tolist() == [0, 1, 2]
    assert set(followed) == {
        "epochs",
        *(f"{graph}_{who}_within" for graph in ("embedding", "adjacency") for who in ("student", "teacher")),
    }
    pull = look(looked_at, seen, "gradients", 2).history
    assert set(pull) - {"epochs"} == set(next(seen.events("epoch"))["terms"])
    assert all(value > 0 for value in pull["ce"])
    assert history(seen, panel("cka")) == {}


def test_looking_leaves_a_card_in_training_alone(looked_at: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def pick(name: str) -> torch.device:
        asked.append(name)
        return torch.device("cpu")

    with monkeypatch.context() as patched:
        patched.setattr(looking, "pick_device", pick)
        look(looked_at, looked_at.run("unseen"), "attention", "last")
        patched.setattr(looking, "beside_training", lambda workspace: Beside("cpu", "since a run trains"))
        look(looked_at, looked_at.run("unseen"), "attention", "best")
    assert asked == ["auto", "cpu"]


def test_a_run_that_was_not_looked_at_is_looked_at_now(looked_at: Workspace) -> None:
    unseen = looked_at.run("unseen")
    names = [one.name for one in offered(looked_at, unseen)]
    assert {"attention", "gradcam", "graph", "classes", "confusion", "tsne", "disagree"} <= set(names)
    assert "importance" not in names and "gradients" not in names
    seen = look(looked_at, unseen, "attention", "best")
    assert len(seen.pixels) == MAPS and seen.epoch is None
    assert epochs(unseen) == [1, 2]
    with pytest.raises(
        BadInput, match=r"epoch: there are no weights of epoch 0 of unseen to make attention of; there are best, 1, 2"
    ):
        look(looked_at, unseen, "attention", 0)
    with pytest.raises(BadInput, match=r"what: unseen has nothing to show under gradients; it has: attention"):
        look(looked_at, unseen, "gradients")
    with pytest.raises(BadInput, match=r"what: there is no view 'atention'; there are: attention"):
        look(looked_at, unseen, "atention")


def test_pictures_are_chosen_by_class_or_uploaded(looked_at: Workspace, tmp_path: Path) -> None:
    from PIL import Image

    seen = looked_at.run("seen")
    ones = chosen(looked_at, seen, 4, ("1", "7"))
    assert sorted(ones.labels.tolist()) == [1, 1, 7, 7]
    with pytest.raises(BadInput, match="classes: digits has no class 'cat'"):
        chosen(looked_at, seen, 4, ("cat",))
    with pytest.raises(BadInput, match="count: found 129 images; at least 1 and at most 128"):
        chosen(looked_at, seen, 129)
    photo, text = tmp_path / "photo.png", tmp_path / "notes.txt"
    Image.new("RGB", (60, 40), "white").save(photo)
    text.write_text("no image")
    uploaded = chosen(looked_at, seen, 1, files=(photo,))
    assert uploaded.pixels.shape == (1, 16, 16, 3) and (uploaded.pixels == 255).all()
    card = read_card(seen)
    try:
        for ground, expected in (("white", 255), ("black", 0)):
            write_card(seen.card_file, replace(card, ground=ground))
            drawing = tmp_path / f"on-{ground}.png"
            Image.new("RGBA", (60, 40), (9, 9, 9, 0)).save(drawing)
            assert (chosen(looked_at, seen, 1, files=(drawing,)).pixels == expected).all()
    finally:
        write_card(seen.card_file, card)
    shown = look(looked_at, seen, "gradcam", "best", uploaded)
    assert set(shown.arrays) == {"student", "teacher"} and shown.class_of(0) == ""
    with pytest.raises(BadInput, match=r"notes\.txt is not an image"):
        chosen(looked_at, seen, 1, files=(photo, text))


def test_a_killed_run_is_looked_at_as_an_undisturbed_one(killed_twice: Workspace, undisturbed: Path) -> None:
    from kdengine.workspace.rundir import RunDirectory

    ours, theirs = killed_twice.run("run"), RunDirectory(undisturbed)
    assert store.epochs(ours) == store.epochs(theirs) == [0, 2, 4]
    for epoch in (0, 2, 4):
        for name in PANELS:
            a, b = store.read(ours, epoch, name), store.read(theirs, epoch, name)
            assert a.keys() == b.keys() and all(np.array_equal(a[key], b[key], equal_nan=True) for key in a), (
                epoch,
                name,
            )


def test_trouble_with_looking_never_ends_a_run(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no memory for this")

    monkeypatch.setattr("kdengine.inspection.record.recorded", broken)
    with caplog.at_level(logging.WARNING):
        done = run(tiny_spec(runtime={"inspect": 1}), workspace=workspace)
    assert done.state == "finished" and "epoch 0 was not looked at: RuntimeError: no memory for this" in caplog.text


@pytest.mark.parametrize("name", ["none", "dcad", "grkd", "light_self", "fusion_self", "ama_self", "crd", "sim_kd"])
def test_every_panel_that_is_recorded_can_be(name: str, tmp_path: Path) -> None:
    """On nets without batch statistics of a run, with what the method brings; arrays are arrays, not images."""
    trial = bench(name)
    before = {key: value.clone() for key, value in trial.method.state_dict().items() if isinstance(value, torch.Tensor)}
    state = torch.get_rng_state()
    subject = subject_of(trial.method.deployable(trial.student), count=8, method=trial.method, teacher=trial.teacher)
    found = recorded(subject)
    found["gradients"] = gradient_norms(trial.student, trial.method, trial.teacher, trial.batch, 3.0)
    for panel_name, arrays in found.items():
        assert all(isinstance(values, np.ndarray) for values in arrays.values()), panel_name
    assert found["attention"] and found["cka"] and found["graph"]
    assert torch.equal(torch.get_rng_state(), state) and trial.student.training and trial.method.training
    after = trial.method.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_the_pull_of_a_term_is_the_norm_of_its_gradient() -> None:
    trial = bench("kd")
    norms = gradient_norms(trial.student, trial.method, trial.teacher, trial.batch, 3.0)
    for name, term in trial.terms().items():
        slopes = torch.autograd.grad(
            term.weighted, list(trial.student.parameters()), retain_graph=True, allow_unused=True
        )
        by_hand = math.sqrt(sum(float(slope.square().sum()) for slope in slopes if slope is not None))
        assert norms[name] == pytest.approx(by_hand, rel=1e-4)
    assert all(parameter.grad is None for parameter in trial.student.parameters())


def test_a_recorder_stores_an_epoch_once(workspace: Workspace) -> None:
    from kdengine import assembly, runner

    spec = tiny_spec()
    folder = runner.create(spec, workspace, "once")
    bundle = assembly.load_data(spec, workspace)
    student = assembly.seeded_student(spec, 10)
    method = assembly.build_method(spec, 10, len(bundle.train), student, None)
    recorder = Recorder(folder, bundle, None, None, (0, 2))
    recorder.look(1, student, student, method)
    assert store.epochs(folder) == []
    recorder.look(0, student, student, method)
    written = store.epoch_file(folder, 0).stat().st_mtime_ns
    recorder.look(0, student, student, method)
    assert store.epochs(folder) == [0] and store.epoch_file(folder, 0).stat().st_mtime_ns == written
