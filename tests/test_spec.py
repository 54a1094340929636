"""The typed experiment: round trips to text and command, identity, defaults, and every problem at once."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

import pydantic
import pytest
import yaml
from support import tiny_spec

from kdengine import ExperimentSpec
from kdengine.commands import train
from kdengine.errors import BadInput
from kdengine.spec import nested
from kdengine.spec.named_recipes import RECIPES

SPECS: dict[str, dict[str, Any]] = {
    "defaults": {"method": "none"},
    "distilled": {"teacher": "resnet8x4", "student": "mobilenetv3_small", "method": "dkd"},
    "other numbers": {
        "title": "my: first # try",
        "data": {"name": "digits", "image_size": 32, "per_class": 20, "augmentation": "none", "split_seed": 3},
        "teacher": "resnet20",
        "student": {"name": "mobilenetv3_large", "dropout": 0.0, "batch_norm": "published"},
        "method": {"name": "kd", "temperature": 2, "kd_weight": 1e-3},
        "recipe": {"name": "quick", "epochs": 3, "lr": 0.001, "optimizer": "adamw", "weight_decay": 0.0},
        "runtime": {"device": "cpu", "threads": 2, "keep_epochs": [1, 2], "compile": True},
        "seed": 7,
    },
    "another recipe": {"student": "vgg11", "data": {"image_size": 32}, "method": "byot", "recipe": "byot200"},
    "step recipe with own milestones": {
        "student": "mobilenetv3_small", "teacher": "resnet56", "method": "at",
        "recipe": {"name": "crd240", "epochs": 24, "milestones": [15, 18, 21]},
    },
    "teacher run": {"teacher": "run:20250101-120000-none-ab12", "student": "resnet20", "method": "kd"},
    "teacher with settings of its own": {
        "teacher": {
            "spec": {
                "student": {"name": "mobilenetv3_large", "dropout": 0.1}, "method": "none", "seed": 5,
                "recipe": {"name": "crd240", "epochs": 10, "milestones": [5]}, "data": {"per_class": 50},
            }
        },
        "student": "resnet20",
        "method": "dkd",
    },
    "teacher that was itself taught": {
        "teacher": {"spec": {"student": "resnet20", "method": "kd", "teacher": {"run": "abc"}}},
        "student": "resnet8x4",
        "method": "kd",
    },
    "folder": {"data": {"name": "folder", "path": "/my images/cats & dogs"}, "student": "resnet18", "method": "none"},
    "folder with a teacher": {
        "data": {"name": "folder", "path": "~/a: b #1"}, "teacher": "resnet34", "student": "resnet18", "method": "kd",
    },
    "title that looks like a number": {"title": "2024", "method": "none"},
    "title that looks like nothing": {"title": "null", "method": "none"},
    "title in other letters": {"title": "Übung „eins“ 1e5", "method": "none"},
    "title with quotes": {"title": "it's \"so\" [1", "method": "none"},
    "timm": {"student": "timm/resnet10t", "data": {"image_size": 64}, "method": "none"},
}  # fmt: skip


PINNED_FINGERPRINT = "8d88fae9b3d545bd"


@pytest.fixture(params=SPECS)
def spec(request: pytest.FixtureRequest) -> ExperimentSpec:
    return ExperimentSpec.from_mapping(SPECS[request.param])


def parse(words: list[str]) -> ExperimentSpec:
    """What ``kd train`` makes of these words."""
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return ExperimentSpec.from_mapping(train.read_experiment(parser.parse_args(words)))


def problems(mapping: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(BadInput) as caught:
        ExperimentSpec.from_mapping(mapping)
    return {problem.field: problem.message for problem in caught.value.problems}


def test_yaml_round_trip(spec: ExperimentSpec) -> None:
    again = ExperimentSpec.from_yaml(spec.to_yaml())
    assert again == spec
    assert again.fingerprint() == spec.fingerprint()
    assert "version: 1" in spec.to_yaml()


@pytest.mark.parametrize("inside", [False, True], ids=["experiment", "teacher's experiment"])
def test_what_a_newer_version_wrote_is_refused_in_words(inside: bool, tmp_path: Path) -> None:
    written = yaml.safe_load(ExperimentSpec.from_mapping(SPECS["distilled"]).to_yaml())
    newest = written["version"]
    newer = written["teacher"]["spec"] if inside else written
    newer |= {"version": newest + 1, "of_which_we_know_nothing": 3}
    said = f"found version {newest + 1}, this program reads up to {newest}; update kdengine"
    assert problems(written) == {"teacher.spec.version" if inside else "version": said}
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(written))
    for read in (lambda: ExperimentSpec.from_yaml(file.read_text()), lambda: parse(["--spec", str(file)])):
        with pytest.raises(BadInput, match=said):
            read()


@pytest.mark.parametrize("version", ["1", 0, -1, 1.5, True, None])
def test_a_version_that_is_none_is_refused_in_words(version: Any) -> None:
    assert f"found {version!r}, expected a whole number" in problems({"method": "none", "version": version})["version"]


def test_an_experiment_without_a_version_is_read() -> None:
    assert "version" not in SPECS["distilled"]
    assert ExperimentSpec.from_yaml(yaml.safe_dump(SPECS["distilled"])) == ExperimentSpec.from_mapping(
        SPECS["distilled"]
    )


def test_command_round_trip(spec: ExperimentSpec) -> None:
    words = shlex.split(spec.command())
    assert words[:2] == ["kd", "train"]
    again = parse(words[2:])
    assert again == spec
    assert again.fingerprint() == spec.fingerprint()


def test_the_short_command_is_short() -> None:
    spec = ExperimentSpec.from_mapping(SPECS["distilled"])
    assert spec.command() == "kd train --dataset digits --teacher resnet8x4 --student mobilenetv3_small --method dkd"


def test_options_lie_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(ExperimentSpec.from_mapping(SPECS["distilled"]).to_yaml())
    spec = parse(
        ["--spec", str(file), "--epochs", "3", "--seed", "4", "--set", "method.temperature=2", "--name", "2024"]
    )
    assert (spec.recipe.epochs, spec.seed, spec.method.params.temperature, spec.title) == (3, 4, 2.0, "2024")  # type: ignore[attr-defined]


def test_the_method_defaults_to_kd_with_a_teacher_and_to_none_without() -> None:
    assert parse(["--teacher", "resnet20"]).method.name == "kd"
    assert parse([]).method.name == "none"
    assert parse(["--teacher", "none"]).method.name == "none"


def test_a_teacher_by_name_follows_data_and_recipe_but_not_learning_rate_and_seed() -> None:
    words = [
        "--teacher",
        "resnet8x4",
        "--student",
        "mobilenetv3_small",
        "--recipe",
        "crd240",
        "--epochs",
        "7",
        "--seed",
        "3",
    ]
    spec = parse([*words, "--set", "data.image_size=32", "--set", "recipe.milestones=[4, 6]"])
    assert spec.teacher is not None and spec.teacher.spec is not None
    teacher = spec.teacher.spec
    assert teacher.data == spec.data and teacher.method.name == "none"
    assert (teacher.recipe.epochs, teacher.recipe.milestones, teacher.seed) == (7, (4, 6), 0)
    assert (spec.recipe.lr, teacher.recipe.lr) == (0.01, 0.05)


def test_identity_is_what_decides_the_result() -> None:
    base = tiny_spec()
    for harmless in (
        {"title": "other"},
        {"runtime": {"threads": 2, "log_every": 3, "keep_epochs": [1], "device": "cuda", "channels_last": False}},
    ):
        assert tiny_spec(**harmless).fingerprint() == base.fingerprint()
    deciding: list[dict[str, Any]] = [
        {"seed": 1},
        {"recipe": {"lr": 0.01}},
        {"data": {"split_seed": 1}},
        {"data": {"resized_crop": 0.3}},
        {"data": {"rotation": 10}},
        {"data": {"cutout": 4}},
        {"student": "resnet8x4"},
        {"runtime": {"precision": "bf16"}},
        {"method": "kd", "teacher": "resnet20"},
        {"method": {"name": "kd", "temperature": 2}, "teacher": "resnet20"},
        {"method": "kd", "teacher": "run:a"},
    ]
    prints = [base.fingerprint(), *(tiny_spec(**change).fingerprint() for change in deciding)]
    assert len(set(prints)) == len(prints)
    assert all(len(value) == 16 and int(value, 16) >= 0 for value in prints)


def test_settings_that_came_later_leave_older_runs_the_runs_that_they_are() -> None:
    assert ExperimentSpec.from_mapping(SPECS["distilled"]).fingerprint() == PINNED_FINGERPRINT


def test_a_teachers_title_and_device_do_not_decide_either() -> None:
    def with_teacher(**more: Any) -> str:
        teacher = {"spec": tiny_spec().model_dump(mode="json") | more}
        return tiny_spec(method="kd", teacher=teacher).fingerprint()

    assert with_teacher() == with_teacher(title="x")
    assert with_teacher() != with_teacher(seed=9)


def test_frozen() -> None:
    spec = tiny_spec()
    with pytest.raises(pydantic.ValidationError):
        spec.seed = 3  # type: ignore[misc]
    with pytest.raises(pydantic.ValidationError):
        spec.recipe.lr = 3  # type: ignore[misc]


def test_defaults_suit_the_data_set() -> None:
    digits = ExperimentSpec.from_mapping({"method": "none"}).data
    assert (digits.image_size, digits.augmentation) == (16, "crop"), "a mirrored digit is another one"
    cifar = ExperimentSpec.from_mapping({"data": "cifar10", "method": "none"}).data
    assert (cifar.image_size, cifar.augmentation) == (32, "crop_flip")


def test_mobile_nets_learn_slower_where_the_source_says_so() -> None:
    def rate(student: str, recipe: Any) -> float:
        return ExperimentSpec.from_mapping({"student": student, "method": "none", "recipe": recipe}).recipe.lr

    assert rate("mobilenetv3_small", "crd240") == 0.01
    assert rate("resnet20", "crd240") == 0.05
    assert rate("mobilenetv3_small", {"name": "crd240", "lr": 0.07}) == 0.07
    assert rate("mobilenetv3_small", "quick") == RECIPES["quick"].settings["lr"]


def test_every_problem_at_once_with_its_field() -> None:
    found = problems(
        {
            "data": {"name": "digits", "image_size": 4},
            "student": {"name": "mobilenetv3_small", "dropout": 1.5},
            "method": {"name": "none", "temprature": 3},
            "recipe": {"epochs": 0, "learning_rate": 1},
            "runtime": {"device": "gpu"},
            "seed": -1,
            "sed": 2,
        }
    )
    assert set(found) == {
        "data.image_size", "student.dropout", "method.temprature", "recipe.epochs", "recipe.learning_rate",
        "runtime.device", "seed", "sed",
    }  # fmt: skip
    assert "greater than or equal to 8" in found["data.image_size"] and "found 4" in found["data.image_size"]
    assert "did you mean 'seed'" in found["sed"]
    assert "found 'gpu', expected auto, cpu, cuda or cuda:<n>" in found["runtime.device"]


@pytest.mark.parametrize(
    ("mapping", "field", "message"),
    [
        ({"data": "digit"}, "data.name", "did you mean 'digits'"),
        ({"student": "resnet21"}, "student.name", "'resnet20'"),
        ({"method": "dkdd"}, "method.name", "did you mean 'dkd'"),
        ({"recipe": "crd24"}, "recipe.name", "did you mean 'crd240'"),
        ({"student": "timm/resnet1O"}, "student.name", "timm has no model"),
        (
            {"method": {"name": "kd", "temprature": 2}, "teacher": "resnet20"},
            "method.temprature",
            "did you mean 'temperature'",
        ),
        ({"data": {"imagesize": 16}, "method": "none"}, "data.imagesize", "did you mean 'image_size'"),
        ({"recipe": {"epoch": 3}, "method": "none"}, "recipe.epoch", "did you mean 'epochs'"),
        ({"runtime": {"thread": 3}, "method": "none"}, "runtime.thread", "did you mean 'threads'"),
        ({"teacher": "resnet2O", "method": "kd"}, "teacher.spec.student.name", "'resnet20'"),
        ({"teacher": {"spec": {"method": "none", "recipe": {"epoch": 1}}}}, "teacher.spec.recipe.epoch", "'epochs'"),
        ({"teacher": {"rum": "x"}}, "teacher.rum", "did you mean 'run'"),
        ({"teacher": {}}, "teacher", "give one of run: ID, import: NAME and spec"),
        ({"data": {"name": "folder"}, "method": "none"}, "data.path", "required"),
        ({"data": {"cutout": 16}, "method": "none"}, "data.cutout", "a square of 16 px would blank a whole image"),
        ({"data": {"resized_crop": 1.5}, "method": "none"}, "data.resized_crop", "less than or equal to 1"),
        ({"data": {"rotation": 200}, "method": "none"}, "data.rotation", "less than or equal to 180"),
        ({"student": {"name": 5}, "method": "none"}, "student.name", "5"),
        ({"student": {"name": None}, "method": "none"}, "student.name", "None"),
        ({"student": None, "method": "none"}, "student", ""),
        ({"recipe": {"name": ["quick"]}, "method": "none"}, "recipe.name", "quick"),
        ({"recipe": {"warmup_epochs": 6, "epochs": 5}, "method": "none"}, "recipe.warmup_epochs", "warm-up"),
        ({"recipe": {"milestones": [5, 3]}, "method": "none"}, "recipe", "milestones must rise"),
        ({"recipe": {"lr": float("nan")}, "method": "none"}, "recipe.lr", "finite"),
        ({"method": "kd"}, "teacher", "the method kd needs a teacher"),
        ({"method": "byot", "teacher": "resnet20"}, "teacher", "the method byot uses no teacher"),
    ],
)
def test_each_mistake_in_words(mapping: dict[str, Any], field: str, message: str) -> None:
    found = problems(mapping)
    assert field in found, found
    assert message in found[field]


def test_a_chain_of_teachers_to_be_trained_is_refused() -> None:
    chain = {"spec": {"method": "kd", "teacher": "resnet56", "student": "resnet20"}}
    assert "may itself only have a finished run" in str(problems({"method": "kd", "teacher": chain}))


@pytest.mark.parametrize("text", ["a: [", "- 1", "just words", ""])
def test_what_is_no_experiment_is_refused_in_words(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"not YAML|expected a mapping"):
        ExperimentSpec.from_yaml(text)
    file = tmp_path / "spec.yaml"
    file.write_text(text)
    with pytest.raises(BadInput, match=r"is not YAML|must hold a mapping"):
        parse(["--spec", str(file)])


def test_a_missing_file_is_named() -> None:
    with pytest.raises(BadInput, match="cannot read nowhere"):
        parse(["--spec", "nowhere/spec.yaml"])


def test_settings_as_words() -> None:
    assert nested(["a.b=1", "a.c=x", "d=1e-3", "e=[1, 2]", "f=null", "g=a=b"]) == {
        "a": {"b": 1, "c": "x"}, "d": 0.001, "e": [1, 2], "f": None, "g": "a=b",
    }  # fmt: skip
    with pytest.raises(BadInput) as caught:
        nested(["epochs", "=3", "a..b=1", "x=[1"])
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("words", [["seed=1", "seed.x=2"], ["recipe=quick", "recipe.epochs=3"]])
def test_settings_that_contradict_each_other_are_refused_in_words(words: list[str]) -> None:
    with pytest.raises(BadInput, match="--set"):
        nested(words)


def test_flat_names_every_setting_once() -> None:
    flat = ExperimentSpec.from_mapping(SPECS["distilled"]).flat()
    assert flat["method.temperature"] == 4.0
    assert flat["teacher.spec.student.name"] == "resnet8x4"
    assert flat["recipe.epochs"] == 12


def test_labels() -> None:
    assert ExperimentSpec.from_mapping(SPECS["distilled"]).label() == "dkd · resnet8x4 → mobilenetv3_small"
    assert tiny_spec().label() == "none · resnet8"
    assert tiny_spec(method="kd", teacher="run:run-1").teacher_label() == "run-1"


def test_every_setting_says_what_it_is() -> None:
    from kdengine.spec import DataSpec, RecipeSpec, RuntimeSpec, TeacherSpec

    for part in (DataSpec, RecipeSpec, RuntimeSpec, TeacherSpec):
        for name, field in part.model_fields.items():
            assert name == "params" or (field.title and field.description), f"{part.__name__}.{name}"


# an imported teacher -------------------------------------------------------------------------------------------------


def test_an_import_in_text_mapping_yaml_and_command() -> None:
    short = ExperimentSpec.from_mapping({"teacher": "import:my-net", "method": "kd", "student": "resnet20"})
    assert short.model_dump()["teacher"] == {"import": "my-net"}
    assert short.command() == "kd train --dataset digits --teacher import:my-net --student resnet20 --method kd"
    assert short.label() == "kd · my-net → resnet20"
    pinned = ExperimentSpec.from_mapping(
        {"teacher": {"import": "my-net", "digest": "0123456789abcdef"}, "method": "kd", "student": "resnet20"}
    )
    assert "--teacher import:my-net@0123456789abcdef " in pinned.command()
    for spec in (short, pinned):
        assert ExperimentSpec.from_yaml(spec.to_yaml()) == spec
        words = dict(zip(spec.command().split()[2::2], spec.command().split()[3::2], strict=True))
        again = {"teacher": words["--teacher"], "method": words["--method"], "student": words["--student"]}
        assert ExperimentSpec.from_mapping(again) == spec


def test_the_weights_of_an_import_decide_and_its_name_does_not() -> None:
    def fingerprint(teacher: str) -> str:
        return ExperimentSpec.from_mapping({"teacher": teacher, "method": "kd"}).fingerprint()

    digest, other = "0123456789abcdef", "fedcba9876543210"
    assert fingerprint(f"import:one@{digest}") == fingerprint(f"import:two@{digest}")
    assert (
        len({fingerprint(t) for t in (f"import:one@{digest}", f"import:one@{other}", "import:one", "import:two")}) == 4
    )


@pytest.mark.parametrize(
    ("teacher", "field", "word"),
    [
        ({"import": "a", "run": "b"}, "teacher", "give one of run: ID, import: NAME and spec: {...}"),
        ({"run": "b", "digest": "0123456789abcdef"}, "teacher", "a digest belongs to import: NAME alone"),
        ({"import": "a", "digest": "weights"}, "teacher.digest", "pattern"),
        ({"imported": "a", "imprt": "b"}, "teacher.imprt", "did you mean 'import'"),
    ],
)
def test_an_import_that_cannot_be(teacher: dict[str, str], field: str, word: str) -> None:
    with pytest.raises(BadInput) as caught:
        ExperimentSpec.from_mapping({"teacher": teacher, "method": "kd"})
    assert any(problem.field == field and word in problem.message for problem in caught.value.problems)
