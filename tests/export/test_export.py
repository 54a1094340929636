"""What is taken away works without us: files that were tried, a card whose code runs, and nothing written otherwise."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from archives import as_folder, image_files
from PIL import Image
from support import PATIENCE_S, Distilled, FakeBatch, TinyNet, tiny_spec

from kdengine import assembly, run
from kdengine.assembly.data import EVALUATION_BATCH
from kdengine.cli import main
from kdengine.errors import BadInput, KdError
from kdengine.evaluation.classifier import Classifier
from kdengine.export import Request, export, load, parity
from kdengine.export.pieces import Piece, ToLogits, deployed
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def branched(shared: Workspace) -> RunDirectory:
    """A run of self-distillation: a deployed answer and two early ones."""
    result = run(tiny_spec(student="resnet8x4", method="byot", recipe={"epochs": 3}), workspace=shared)
    return shared.run(result.run_id)


@pytest.fixture(scope="module")
def onnx_folder(branched: RunDirectory, shared: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its network, its exits and an 8-bit form as ONNX."""
    folder = tmp_path_factory.mktemp("export") / "onnx"
    export(branched, shared, folder, Request("onnx", int8=True, exits=True))
    return folder


def test_pictures(workspace: Workspace, folder: RunDirectory) -> tuple[np.ndarray, np.ndarray]:
    spec = tiny_spec()
    bundle = assembly.load_data(spec, workspace)
    batches = list(assembly.evaluation_batches(spec, bundle, "test", torch.device("cpu")).epoch(0))
    return torch.cat([b.image for b in batches]).numpy(), torch.cat([b.target for b in batches]).numpy()


test_pictures.__test__ = False  # type: ignore[attr-defined]


def run_card(folder: Path, image: Image.Image) -> int:
    """Runs the Python of the card as somebody who has copied the folder: the number of the class it prints."""
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert code is not None
    image.save(folder / "image.png")
    done = subprocess.run(
        [sys.executable, "-c", code[1]], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S
    )
    (folder / "image.png").unlink()
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def some_image(workspace: Workspace) -> Image.Image:
    return Image.fromarray(assembly.load_data(tiny_spec(), workspace).test.take([7])[0]).resize((40, 30))


def test_onnx_files_answer_as_the_network_and_its_exits_do(
    onnx_folder: Path, branched: RunDirectory, shared: Workspace
) -> None:
    images, classes = test_pictures(shared, branched)
    student, method = assembly.load_with_exits(branched)
    with torch.no_grad():
        outputs = student(torch.from_numpy(images))
        expected = {"model.onnx": outputs.logits} | {
            f"{exit_.name.replace(' ', '-')}.onnx": exit_.logits(outputs) for exit_ in method.exits()
        }
    told = {row["file"]: row for row in json.loads((onnx_folder / "export.json").read_text())["networks"]}
    assert set(told) == {"", "model.int8.onnx", *expected}
    assert len(expected) >= 3
    for file, logits in expected.items():
        session = onnxruntime.InferenceSession(onnx_folder / file, providers=["CPUExecutionProvider"])
        found = session.run(["logits"], {"images": images})[0]
        assert np.abs(found - logits.numpy()).max() < 1e-3
        assert told[file]["accuracy"] == pytest.approx((found.argmax(1) == classes).mean(), abs=1 / len(classes))
        assert told[file]["agreement"] > 0.99
        assert told[file]["milliseconds"] > 0


def test_an_early_exit_is_a_smaller_file(onnx_folder: Path) -> None:
    sizes = [path.stat().st_size for path in (*sorted(onnx_folder.glob("exit*.onnx")), onnx_folder / "model.onnx")]
    assert sizes[0] < sizes[1] and sizes[0] < sizes[-1] / 3


def test_eight_bits_are_measured_not_promised(onnx_folder: Path, branched: RunDirectory, shared: Workspace) -> None:
    images, classes = test_pictures(shared, branched)
    session = onnxruntime.InferenceSession(onnx_folder / "model.int8.onnx", providers=["CPUExecutionProvider"])
    # In the batches of the export: ONNX Runtime's 8-bit kernels round differently for other sizes (a batch of one moves
    # a logit by up to 0.1 on an AMD EPYC).
    parts = [images[start : start + EVALUATION_BATCH] for start in range(0, len(images), EVALUATION_BATCH)]
    found = np.concatenate([session.run(["logits"], {"images": part})[0].argmax(1) for part in parts])
    told = {row["file"]: row for row in json.loads((onnx_folder / "export.json").read_text())["networks"]}
    assert told["model.int8.onnx"]["accuracy"] == pytest.approx((found == classes).mean(), abs=1e-6)
    assert told["model.int8.onnx"]["difference"] > told["model.onnx"]["difference"]
    model = onnx.load(onnx_folder / "model.int8.onnx")
    weights = {w.name: w.data_type for w in model.graph.initializer}
    assert sum(kind == onnx.TensorProto.INT8 for kind in weights.values()) >= 8
    assert (onnx_folder / "model.int8.onnx").stat().st_size < (onnx_folder / "model.onnx").stat().st_size / 2


def test_an_onnx_file_knows_its_classes_and_not_our_disk(onnx_folder: Path) -> None:
    model = onnx.load(onnx_folder / "model.onnx")
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(facts["kd.classes"]) == [str(digit) for digit in range(10)]
    assert json.loads(facts["kd.image_size"]) == 16
    for file in onnx_folder.iterdir():
        assert str(ROOT).encode() not in file.read_bytes()
        assert b"site-packages" not in file.read_bytes()


def test_the_code_of_an_onnx_card_runs(onnx_folder: Path, branched: RunDirectory, shared: Workspace) -> None:
    image = some_image(shared)
    answer = Classifier(branched)(image).top[0][0]
    assert run_card(onnx_folder, image) == int(answer)


def test_safetensors_are_the_student_and_nothing_else(
    distilled: Distilled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KD_HOME", str(distilled.workspace.root))
    monkeypatch.chdir(tmp_path)
    assert main(["export", distilled.first.run_id, "--json"]) == 0
    folder = tmp_path / f"{distilled.first.run_id}-safetensors"
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors", "model_card.json", "spec.yaml", "export.json", "README.md",
    }  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert told["networks"][1]["difference"] == 0
    assert told["networks"][0]["accuracy"] == pytest.approx(distilled.first.test_accuracy, abs=1e-6)
    image = some_image(distilled.workspace)
    answer = Classifier(distilled.workspace.run(distilled.first.run_id))(image).top
    assert Classifier(load(folder))(image).top == answer
    assert run_card(folder, image) == int(answer[0][0])
    image.save(tmp_path / "one.png")
    assert main(["predict", str(folder), str(tmp_path / "one.png"), "--csv"]) == 0
    assert capsys.readouterr().out.split(",")[1] == answer[0][0]


def test_exits_leave_the_student_s_file_alone(branched: RunDirectory, shared: Workspace, tmp_path: Path) -> None:
    export(branched, shared, tmp_path / "with", Request(exits=True, images=20))
    export(branched, shared, tmp_path / "without", Request(images=20))
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("with", "without")]
    assert weights[0] == weights[1]
    assert (tmp_path / "with" / "exits.safetensors").is_file()
    assert not (tmp_path / "without" / "exits.safetensors").exists()


def test_every_problem_is_named_and_nothing_is_written(
    distilled: Distilled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KD_HOME", str(distilled.workspace.root))
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    words = ["--int8", "--exits", "--last", "--pictures", "0", "--out", str(taken)]
    assert main(["export", distilled.first.run_id, *words]) == 2
    told = capsys.readouterr().err
    for field in ("--int8", "--last", "--exits", "--images", "--out"):
        assert f"kd: {field}:" in told
    assert [path.name for path in tmp_path.rglob("*")] == ["taken", "mine.txt"]


def test_a_run_that_is_not_finished_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    folder = workspace.run("early")
    folder.create(tiny_spec().to_yaml(), "kd train")
    with pytest.raises(BadInput, match="the run early is queued; only a finished run"):
        export(folder, workspace, tmp_path / "out", Request())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", [0.1, float("nan")], ids=["differs", "not a number"])
def test_a_file_that_answers_differently_is_refused(fault: float, tmp_path: Path) -> None:
    net = TinyNet().eval()

    def read(path: Path) -> ToLogits:
        return lambda x: net(x).logits + fault

    piece = Piece("model.onnx", "a faulty file", lambda path: path.touch(), read, deployed(net))
    batch = FakeBatch((torch.randn(4, 3, 16, 16),), torch.arange(4), torch.arange(4))
    with pytest.raises(KdError, match=r"model.onnx differs from the network in PyTorch by up to"):
        parity.try_out([piece], net, tmp_path, [batch], print)


def test_a_folder_that_is_not_an_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is no export of safetensors"):
        load(tmp_path)


def test_transparent_parts_are_laid_as_in_training(shared: Workspace, tmp_path: Path) -> None:
    files = image_files({"cat": 12, "dog": 12})
    data = {"name": "folder", "path": str(as_folder(tmp_path / "own", files)), "per_class": None, "image_size": 16}
    spec = tiny_spec(data=data | {"transparent": "black"}, recipe={"epochs": 1, "batch_size": 4})
    folder = shared.run(run(spec, workspace=shared).run_id)
    exported = tmp_path / "exported"
    export(folder, shared, exported, Request("onnx"))
    assert 'Image.new("RGBA", image.size, "black")' in (exported / "README.md").read_text()
    facts = {each.key: each.value for each in onnx.load(exported / "model.onnx").metadata_props}
    assert facts["kd.transparent"] == '"black"'
    image = Image.new("RGBA", (16, 16), (255, 255, 255, 0))
    image.paste((200, 40, 40, 255), (4, 4, 12, 12))
    classes = [name for name, _ in Classifier(folder)(image).top]
    assert run_card(exported, image) == ("cat", "dog").index(classes[0])
