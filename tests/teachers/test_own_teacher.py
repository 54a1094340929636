"""A teacher of one's own, through the command line: imported, checked, corrected, distilled, refused, deleted."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
import yaml
from abroad import ARCHITECTURE, HEAD, Abroad, pixels
from safetensors.torch import load_file, save_file
from support import signal_at_step, start_kd, tiny_spec

from kdengine import ExperimentSpec, run, runner
from kdengine.cli import main
from kdengine.data import DatasetBundle
from kdengine.errors import BadInput, KdError
from kdengine.teachers import records, weights
from kdengine.workspace import Workspace
from kdengine.workspace.states import State

SHIFTED = [9, 0, 1, 2, 3, 4, 5, 6, 7, 8]
TINY = ("--student", "resnet20", "--epochs", "1", "--set", "data.per_class=20", "--set", "recipe.batch_size=32",
        "--set", "recipe.warmup_epochs=0", "--set", "runtime.threads=1", "--set", "runtime.device=cpu")  # fmt: skip


def taught_spec(name: str, **changes: object) -> ExperimentSpec:
    return tiny_spec(**({"method": "kd", "teacher": f"import:{name}", "recipe": {"epochs": 1}} | changes))


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):
    """Runs ``kd`` with these words, expects the exit code, and returns what it wrote."""

    def say(code: int, *words: str) -> str:
        assert main(list(words)) == code, capsys.readouterr()
        out, err = capsys.readouterr()
        return out + err

    return say


def test_a_net_trained_elsewhere_is_imported_checked_and_teaches(
    workspace: Workspace, abroad: Abroad, digits: DatasetBundle, said
) -> None:
    text = said(0, *abroad.words("abroad"))
    assert "timm/test_efficientnet at 16 px" in text and "10, without names" in text
    text = said(0, "import", "abroad", "--check", "--dataset", "digits")
    assert "embedding 256" in text and "stages 16x8x8, 24x4x4" in text
    assert "the classes have no names; they are taken to be those of the data" in text

    # Its answers are those of the net that was trained: nothing of its normalisation or batch norm was lost.
    imported = records.find(workspace, "abroad")
    assert imported.checks["digits"] > 0.8
    backbone, card = weights.load(imported)
    with torch.no_grad():
        torch.testing.assert_close(backbone(pixels(digits.validation)).logits, abroad.net(pixels(digits.validation)))
    assert (card.mean, card.std) == ((0.5,) * 3, (0.25,) * 3)
    timm.create_model(ARCHITECTURE, num_classes=10).load_state_dict(load_file(imported.weights_file))

    result = run(taught_spec("abroad"), workspace=workspace)
    assert result.state == State.FINISHED
    spec = yaml.safe_load((result.path / "spec.yaml").read_text())
    assert spec["teacher"] == {"import": "abroad", "digest": imported.digest}
    assert f"--teacher import:abroad@{imported.digest}" in (result.path / "command.txt").read_text()
    status = workspace.run(result.run_id).status()
    assert "teacher_run" not in status

    # How good it is on the validation part stands with the run, for the line that the student is drawn against.
    with torch.no_grad():
        right = abroad.net(pixels(digits.validation)).argmax(1).numpy() == digits.validation.labels
    assert status["teacher_validation"] == pytest.approx(right.mean(), abs=1e-6)


def test_the_teacher_really_teaches(workspace: Workspace, abroad: Abroad) -> None:
    main(abroad.words("abroad"))
    soft = {"name": "kd", "ce_weight": 0.0, "kd_weight": 1.0}  # no label is seen: all it knows comes from the teacher
    data = {"per_class": None}
    taught = run(taught_spec("abroad", data=data, method=soft, recipe={"epochs": 2}), workspace=workspace)
    assert taught.test_accuracy is not None and taught.test_accuracy > 0.5


def test_the_wrong_number_of_classes_is_refused_with_both_numbers(workspace: Workspace, tmp_path: Path, said) -> None:
    torch.manual_seed(0)
    save_file(timm.create_model(ARCHITECTURE, num_classes=7).state_dict(), tmp_path / "seven.safetensors")
    said(0, "import", "seven", "--weights", str(tmp_path / "seven.safetensors"), "--model", f"timm/{ARCHITECTURE}",
         "--image-size", "16")  # fmt: skip
    expected = "teacher.import: the teacher import:seven knows 7 classes, digits has 10; they must be the same"
    assert expected in said(2, "import", "seven", "--check", "--dataset", "digits")
    assert expected in said(2, "train", "--teacher", "import:seven", *TINY)
    assert not list(workspace.runs.glob("*"))


def test_another_image_size_is_refused_with_both(workspace: Workspace, abroad: Abroad, said) -> None:
    main(abroad.words("abroad"))
    text = said(2, "train", "--teacher", "import:abroad", *TINY, "--set", "data.image_size=32")
    assert "takes 16 px images, the data's are 32 px; set data.image_size=16" in text


def test_permuted_classes_are_found_by_the_predictions_and_corrected(
    workspace: Workspace, abroad: Abroad, digits: DatasetBundle, tmp_path: Path, said
) -> None:
    said(0, *abroad.words("shifted", abroad.permuted(tmp_path, SHIFTED)))
    refusal = said(2, "train", "--teacher", "import:shifted", *TINY)
    assert "with its classes in another order for" in refusal and "--fix stores what it finds" in refusal

    text = said(2, "import", "shifted", "--check", "--dataset", "digits")
    assert (
        "the classes stand in another order: put right by its predictions" in text and "10 of 10 classes move" in text
    )
    before = records.find(workspace, "shifted").digest
    said(0, "import", "shifted", "--check", "--dataset", "digits", "--mend")
    fixed = records.find(workspace, "shifted")
    assert fixed.order == tuple(SHIFTED.index(number) for number in range(10))
    assert fixed.named and fixed.classes == digits.classes and fixed.digest != before
    with torch.no_grad():
        logits = weights.load(fixed)[0](pixels(digits.validation)).logits
        torch.testing.assert_close(logits, abroad.net(pixels(digits.validation)))
    assert "the classes stand in the order of the data" in said(
        0, "import", "shifted", "--check", "--dataset", "digits"
    )
    assert run(taught_spec("shifted"), workspace=workspace).state == State.FINISHED


def test_permuted_names_are_put_right_by_the_names(
    workspace: Workspace, abroad: Abroad, digits: DatasetBundle, tmp_path: Path, said
) -> None:
    names = tmp_path / "classes.txt"
    names.write_text("\n".join(digits.classes[number] for number in SHIFTED) + "\n")
    said(0, *abroad.words("named", abroad.permuted(tmp_path, SHIFTED)), "--classes", str(names))
    assert "name their classes differently or in another order" in said(2, "train", "--teacher", "import:named", *TINY)
    text = said(0, "import", "named", "--check", "--dataset", "digits", "--fix")
    assert "put right by the names" in text
    assert records.find(workspace, "named").order == tuple(SHIFTED.index(number) for number in range(10))
    assert "kd check" not in said(0, "check", "--teacher", "import:named", "--student", "resnet20")


def test_names_that_do_not_describe_the_weights_are_not_believed(
    workspace: Workspace, abroad: Abroad, digits: DatasetBundle, tmp_path: Path, said
) -> None:
    names = tmp_path / "classes.txt"
    names.write_text("\n".join(digits.classes[number] for number in SHIFTED) + "\n")
    said(0, *abroad.words("named"), "--classes", str(names))  # the rows are in the data's order all the same
    said(0, "import", "named", "--check", "--dataset", "digits", "--mend")
    fixed = records.find(workspace, "named")
    assert fixed.order is None and fixed.classes == digits.classes


def test_too_few_or_too_many_names(workspace: Workspace, abroad: Abroad, tmp_path: Path, said) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\nhorse\n")
    text = said(2, *abroad.words("abroad"), "--classes", str(tmp_path / "names.txt"))
    assert "classes: found 3 class names, but the classifier of these weights has 10 rows" in text
    assert not records.list_imports(workspace)


def test_a_better_normalisation_is_named_and_corrected(
    workspace: Workspace, abroad: Abroad, tmp_path: Path, said
) -> None:
    state = load_file(abroad.file)
    # The same net for pixels of (x - 0.5) / 0.5: its first convolution is twice as strong.
    state["conv_stem.weight"] = state["conv_stem.weight"] * 2
    save_file(state, tmp_path / "half.safetensors")
    words = abroad.words("half", tmp_path / "half.safetensors")
    words[words.index("--mean") + 1], words[words.index("--std") + 1] = "0,0,0", "1,1,1"
    said(0, *words)
    text = said(0, "import", "half", "--check", "--dataset", "digits", "--mend")
    assert "the normalisation seems to be 0.5 and 0.5 (mean 0.5,0.5,0.5, std 0.5,0.5,0.5)" in text
    assert records.find(workspace, "half").mean == (0.5, 0.5, 0.5)


def test_a_teacher_at_chance_is_refused(workspace: Workspace, tmp_path: Path, said) -> None:
    torch.manual_seed(0)
    save_file(timm.create_model(ARCHITECTURE, num_classes=10).state_dict(), tmp_path / "blank.safetensors")
    said(0, "import", "blank", "--weights", str(tmp_path / "blank.safetensors"), "--model", f"timm/{ARCHITECTURE}",
         "--image-size", "16")  # fmt: skip
    text = said(2, "import", "blank", "--check", "--dataset", "digits")
    assert "no better than chance, in any class order and under any usual normalisation" in text
    assert "no better than chance" in said(2, "import", "blank", "--check", "--dataset", "digits", "--mend")
    assert "which is no better than chance" in said(2, "train", "--teacher", "import:blank", *TINY)


# files that are refused, or put right -------------------------------------------------------------------------------


def test_weights_of_another_architecture_name_their_keys(workspace: Workspace, abroad: Abroad, said) -> None:
    words = abroad.words("wrong")
    words[words.index("--model") + 1] = "timm/test_resnet"
    text = said(2, *words)
    assert "these are not the weights of timm/test_resnet at 16 px" in text
    assert "73 missing: conv1.0.weight 16x3x3x3, " in text and " unexpected: " in text
    assert "of another shape: bn1.weight 24 instead of 32" in text
    assert not records.list_imports(workspace) and not list(workspace.teachers.glob("*"))


def test_one_key_of_another_shape_is_named_with_both_shapes(
    workspace: Workspace, abroad: Abroad, tmp_path: Path, said
) -> None:
    state = load_file(abroad.file)
    state["conv_stem.weight"] = torch.zeros(24, 1, 3, 3)
    save_file(state, tmp_path / "grey.safetensors")
    text = said(2, *abroad.words("grey", tmp_path / "grey.safetensors"))
    assert "1 of another shape: conv_stem.weight 24x1x3x3 instead of 24x3x3x3" in text
    assert "missing" not in text and "unexpected" not in text


def test_prefixes_are_taken_off_with_a_word(workspace: Workspace, abroad: Abroad, tmp_path: Path, said) -> None:
    state = {f"module.student.{name}": value for name, value in load_file(abroad.file).items()}
    del state["module.student.bn1.num_batches_tracked"]  # many tools leave these counters out
    save_file(state, tmp_path / "wrapped.safetensors")
    assert "the prefix 'module.student.' was taken off" in said(
        0, *abroad.words("wrapped", tmp_path / "wrapped.safetensors")
    )
    ours = load_file(records.find(workspace, "wrapped").weights_file)
    for name, value in load_file(abroad.file).items():
        if "num_batches" not in name:
            torch.testing.assert_close(ours[name], value)


def test_a_prefix_of_the_body_alone(workspace: Workspace, abroad: Abroad, tmp_path: Path, said) -> None:
    state = {
        name if name.startswith(HEAD) else f"backbone.{name}": value for name, value in load_file(abroad.file).items()
    }
    save_file(state, tmp_path / "body.safetensors")
    assert "'backbone.'" in said(0, *abroad.words("body", tmp_path / "body.safetensors"))


def test_two_nets_in_one_file(workspace: Workspace, abroad: Abroad, tmp_path: Path, said) -> None:
    state = {f"{role}.{name}": value.clone() for role in ("student", "teacher")
             for name, value in load_file(abroad.file).items()}  # fmt: skip
    save_file(state, tmp_path / "both.safetensors")
    assert "two nets of that architecture are in the file" in said(
        2, *abroad.words("both", tmp_path / "both.safetensors")
    )


def test_numbers_that_are_not_finite(workspace: Workspace, abroad: Abroad, tmp_path: Path, said) -> None:
    state = load_file(abroad.file)
    state["bn1.weight"][0] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    assert "not all numbers are finite as float32 in bn1.weight" in said(
        2, *abroad.words("nan", tmp_path / "nan.safetensors")
    )


class Trap:
    """A pickle of it makes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("name", ["net.pth", "net.pt", "net.bin", "net.safetensors"])
def test_a_pickle_is_never_opened(workspace: Workspace, abroad: Abroad, tmp_path: Path, said, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    text = said(2, *abroad.words("trap", tmp_path / name))
    assert f"{name} is a pickle" in text and "weights_only=True" in text and "save_file(" in text
    assert not (tmp_path / "sprung").exists()


def checkpoints(state: dict[str, torch.Tensor]) -> dict[str, object]:
    """How published checkpoints look: RepDistiller, mdistiller, timm, torchvision, pytorch-cifar and their like."""
    parallel = {f"module.{name}": value for name, value in state.items()}
    worse = {name: torch.zeros_like(value) for name, value in state.items()}
    options = argparse.Namespace(lr=0.1, arch="resnet")
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    return {
        "bare": state,
        "lightning": {"state_dict": state, "epoch": 4},
        "pytorch-cifar": {"net": parallel, "acc": np.float64(93.1), "epoch": 199},
        "repdistiller": {"epoch": 240, "model": state, "best_acc": np.float64(72.3), "opt": options},
        "mdistiller": {"epoch": 3, "model": parallel, "optimizer": optimizer, "best_acc": np.float32(70.0)},
        "timm": {"epoch": 5, "arch": "x", "state_dict": state, "optimizer": optimizer, "args": options, "version": 2,
                 "state_dict_ema": worse, "metric": np.float64(80.0)},
        "torchvision": {"model": state, "optimizer": optimizer, "lr_scheduler": {"last_epoch": 9}, "epoch": 9,
                        "args": options, "model_ema": {"n_averaged": torch.tensor(3)} | worse},
        "deeper": {"checkpoint": {"student": {"weights": state}}, "step": torch.tensor(7)},
        "half": {"state_dict": {k: v.half() if v.is_floating_point() else v for k, v in state.items()}},
        "counts": {"state_dict": state, "counts": np.int64(3), "history": [np.float64(1.0)]},
    }  # fmt: skip


SHAPES = ("bare", "lightning", "pytorch-cifar", "repdistiller", "mdistiller", "timm", "torchvision", "deeper", "half",
          "counts")  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_the_printed_lines_turn_a_checkpoint_into_what_is_imported(
    workspace: Workspace, abroad: Abroad, tmp_path: Path, said, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found = checkpoints(dict(abroad.net.state_dict()))
    assert set(found) == set(SHAPES)
    torch.save(found[shape], "net.pth")
    text = said(2, *abroad.words("abroad", Path("net.pth")))
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    with torch.serialization.safe_globals([]):
        exec("\n".join(lines), {})
    written = load_file("net.safetensors")
    kept = {name.removeprefix("module."): value for name, value in written.items()}
    for name, value in abroad.net.state_dict().items():
        assert torch.allclose(kept[name].to(value.dtype), value, atol=1e-2, rtol=1e-2), name
    said(0, *abroad.words("abroad", Path("net.safetensors")))


def test_a_header_whose_length_begins_as_a_pickle_is_read(
    workspace: Workspace, abroad: Abroad, tmp_path: Path, said
) -> None:
    """The first byte of a safetensors file is the low byte of its header's length: any of 256."""
    state = load_file(abroad.file)
    for padding in range(0, 2048, 8):
        save_file(state, tmp_path / "net.safetensors", metadata={"note": "x" * padding})
        if (tmp_path / "net.safetensors").read_bytes()[0] == 0x80:
            break
    assert (tmp_path / "net.safetensors").read_bytes()[0] == 0x80
    said(0, *abroad.words("even", tmp_path / "net.safetensors"))
    shutil.copyfile(abroad.file, tmp_path / "net.bin")
    said(0, *abroad.words("named-bin", tmp_path / "net.bin"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda value: value.double() * 1e300, "not all numbers are finite as float32 in bn1.weight"),
        (lambda value: value > 0, "bn1.weight is bool"),
        (lambda value: value.long(), "bn1.weight is int64"),
        (lambda value: value.to(torch.complex64), "bn1.weight is complex64"),
        (lambda value: value.to(torch.float8_e4m3fn), "bn1.weight is float8_e4m3fn"),
    ],
)
def test_what_are_no_real_numbers_is_refused(
    workspace: Workspace, abroad: Abroad, tmp_path: Path, said, change, expected: str
) -> None:
    state = load_file(abroad.file)
    state["bn1.weight"] = change(state["bn1.weight"])
    save_file(state, tmp_path / "odd.safetensors")
    assert expected in said(2, *abroad.words("odd", tmp_path / "odd.safetensors"))
    assert not records.list_imports(workspace)


@pytest.mark.parametrize("words", [("--image-size", "1000000000"), ("--mean", "0,0,0", "--std", "1e-320,1,1")])
def test_sizes_and_deviations_out_of_this_world(workspace: Workspace, abroad: Abroad, said, words) -> None:
    given = list(abroad.words("odd", abroad.file))
    for name in words[::2]:
        if name in given:
            place = given.index(name)
            del given[place : place + 2]
    assert "expected" in said(2, *given, *words)
    assert not records.list_imports(workspace)


AT16 = ("--image-size", "16", "--model")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--weights", "nowhere.safetensors", *AT16, "resnet20"], "there is no file nowhere"),
        (["--weights", "x.safetensors"], "--model: say which architecture"),
        (["--weights", "x.safetensors", "--model", "resnet20"], "--image-size: say at which size"),
        (["--weights", "x", *AT16, "resnet2O"], "there is no model 'resnet2O'; did you mean"),
        (["--weights", "x", *AT16, "resnet20", "--mean", "1,2", "--std", "1,1,1"], "expected three numbers"),
        (["--weights", "x", *AT16, "resnet20", "--mean", "0,0,0"], "std: give mean and std"),
        (["--weights", "x", *AT16, "vgg8", "--mean", "124,116,104", "--std", "58,57,57"], "pixels divided by 255"),
        (["--weights", "x", *AT16, "resnet20", "--option", "width=2"], "width"),
        (["--published", "resnet20"], "the nets of the catalog are not published"),
        (["--published", "torchvision/resnet35"], "torchvision publishes no weights 'resnet35'"),
        (["--published", "torchvision/resnet34.V9"], "there are: IMAGENET1K_V1"),
        (["--published", "timm/resnet18.no_such_tag"], "timm publishes no weights"),
        (["--check"], "--dataset: say with which data set"),
        ([], "there is no imported teacher 'mine'; there are: none yet"),
    ],
)  # fmt: skip
def test_bad_words(workspace: Workspace, said, words: list[str], expected: str) -> None:
    assert expected in said(2, "import", "mine", *words)
    assert not records.list_imports(workspace)


@pytest.mark.parametrize("name", ["../elsewhere", "a b", "", ".hidden", "x" * 60])
def test_what_cannot_be_a_name(workspace: Workspace, abroad: Abroad, said, name: str) -> None:
    said(2, *abroad.words(name or " "))
    with pytest.raises(BadInput, match="is no name for a teacher"):
        records.find(workspace, name)


def test_published_weights_without_a_network(workspace: Workspace, said, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens at the port named discard
    text = said(3, "import", "r34", "--published", "torchvision/resnet34")
    assert "could not be fetched from https://download.pytorch.org" in text and "--weights FILE --model NAME" in text


def test_published_weights_bring_their_classes_size_and_normalisation(workspace: Workspace, said) -> None:
    """The file lies in the cache as if it had been fetched: the network of a test machine is closed."""
    published = torchvision.models.ShuffleNet_V2_X0_5_Weights.DEFAULT
    torch.manual_seed(0)
    net = torchvision.models.shufflenet_v2_x0_5()
    (workspace.cache / "published").mkdir(parents=True)
    torch.save(net.state_dict(), workspace.cache / "published" / published.url.rpartition("/")[2])
    said(0, "import", "shuffle", "--published", "torchvision/shufflenet_v2_x0_5")
    imported = records.find(workspace, "shuffle")
    assert (imported.model, imported.image_size) == ("torchvision/shufflenet_v2_x0_5", 224)
    assert len(imported.classes) == 1000 and imported.classes[0] == "tench" and imported.named
    assert (imported.mean, imported.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(weights.load(imported)[0](x).logits, net.eval()(x))


# kept, needed, deleted ----------------------------------------------------------------------------------------------


def test_nothing_is_overwritten_and_what_is_needed_stays(
    workspace: Workspace, abroad: Abroad, digits: DatasetBundle, tmp_path: Path, said
) -> None:
    said(0, *abroad.words("abroad"))
    first = records.find(workspace, "abroad")
    assert "there is an imported teacher 'abroad' already" in said(2, *abroad.words("abroad"))
    assert records.find(workspace, "abroad") == first
    folder = runner.create(taught_spec("abroad"), workspace, "waits")
    assert "'abroad' cannot be deleted: run waits learned or will learn from it" in said(
        2, "import", "abroad", "--delete"
    )
    shutil.rmtree(folder.path)
    said(0, "import", "abroad", "--delete")
    assert "There is none yet" in said(0, "import", "--list")
    assert not list(workspace.teachers.iterdir())


def test_what_a_run_needs_is_not_changed(workspace: Workspace, abroad: Abroad, tmp_path: Path, said) -> None:
    said(0, *abroad.words("shifted", abroad.permuted(tmp_path, SHIFTED)))
    runner.create(taught_spec("shifted"), workspace, "waits")
    text = said(2, "import", "shifted", "--check", "--dataset", "digits", "--mend")
    assert "'shifted' cannot be changed: run waits" in text


def test_an_experiment_holds_on_to_its_weights(workspace: Workspace, abroad: Abroad, tmp_path: Path) -> None:
    main(abroad.words("abroad"))
    pinned = records.pinned(taught_spec("abroad"), workspace)
    records.delete(workspace, "abroad")
    main(abroad.words("abroad", abroad.permuted(tmp_path, SHIFTED)))
    assert records.pinned(taught_spec("abroad"), workspace).fingerprint() != pinned.fingerprint()
    with pytest.raises(BadInput, match="the experiment asks for"):
        run(pinned, workspace=workspace)
    # The same weights under another name are the same experiment.
    main(abroad.words("twin"))
    assert records.pinned(taught_spec("twin"), workspace).fingerprint() == pinned.fingerprint()


def test_weights_changed_behind_our_back(workspace: Workspace, abroad: Abroad, tmp_path: Path) -> None:
    main(abroad.words("abroad"))
    imported = records.find(workspace, "abroad")
    shutil.copyfile(abroad.permuted(tmp_path, SHIFTED), imported.weights_file)
    with pytest.raises(KdError, match="was changed since it was imported"):
        weights.load(imported)


def test_killed_and_resumed_in_a_fresh_process(workspace: Workspace, abroad: Abroad) -> None:
    main(abroad.words("abroad"))
    undisturbed = run(taught_spec("abroad", recipe={"epochs": 2}), run_id="undisturbed", workspace=workspace)
    folder = runner.create(taught_spec("abroad", recipe={"epochs": 2}), workspace, "killed")
    process = start_kd(workspace, "resume", "killed")
    assert signal_at_step(folder, process, 8, signal.SIGKILL) == -signal.SIGKILL
    run(taught_spec("abroad"), run_id="killed", workspace=workspace, resume=True)
    ours, theirs = (load_file(workspace.run(name).last_student_file) for name in ("killed", undisturbed.run_id))
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


def test_list_and_json(workspace: Workspace, abroad: Abroad, said) -> None:
    said(0, *abroad.words("abroad"), "--dataset", "digits")
    line = said(0, "import", "--list").splitlines()[1].split()
    assert line[:4] == ["abroad", "timm/test_efficientnet", "10", "16"] and line[4] == "digits"
    content = json.loads(said(0, "import", "--list", "--json"))
    assert content[0]["name"] == "abroad" and content[0]["digest"] == records.find(workspace, "abroad").digest
