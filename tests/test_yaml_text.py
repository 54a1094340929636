"""YAML that means something else than it seems, or costs more than it looks, is refused in words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdengine.errors import BadInput
from kdengine.spec import ExperimentSpec
from kdengine.spec.yaml_text import read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "student: vgg8\nseed: 1\nstudent: resnet20\n",
            "'student' is given twice in the mapping that begins in line 1",
        ),
        ("recipe:\n  lr: 0.1\n  lr: 0.2\n", "'lr' is given twice in the mapping that begins in line 2"),
        (BOMB, "more than 100,000 values"),
        ("a: &a [*a]", "inside what it stands for"),
        ("[" * 40 + "]" * 40, "more deeply than 30"),
        ("[" * 5000 + "]" * 5000, "more deeply than 30"),
        ("seed: " + "9" * 5000, "a number of 5,000 digits"),
        ("a: 0." + "1" * 5000, "digits"),
        ("a: [1", "not YAML"),
        ("a: !!python/object/apply:os.system [ls]", "not YAML"),
        ("x: " + "y" * 3_000_000, "characters"),
    ],
)
def test_traps_are_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read_yaml(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("off", "off"), ("on", "on"), ("true", True), ("False", False), ("010", "010"),
        ("1:30", "1:30"), ("0", 0), ("-3", -3), ("1e-3", 1e-3), (".5", 0.5), ("1.", 1.0), ("~", None), ("", None),
        ("2026-11-26", "2026-11-26"), ("[1, two, 3.5]", [1, "two", 3.5]), (".inf", float("inf")),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
    ],
)  # fmt: skip
def test_words_mean_what_they_seem(text: str, value: Any) -> None:
    found = read_yaml(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("word", ["yes", "true"])
def test_a_truth_value_is_no_number(word: str) -> None:
    with pytest.raises(BadInput, match="seed"):
        ExperimentSpec.from_yaml(f"{{method: none, seed: {word}}}")
    assert ExperimentSpec.from_yaml("{method: none, recipe: {nesterov: true}}").recipe.nesterov is True


def test_a_spec_survives_its_own_yaml_and_that_of_pyyaml() -> None:
    spec = ExperimentSpec.from_mapping(
        {
            "student": "vgg8",
            "method": {"name": "dkd", "beta": 1e-05},
            "teacher": "resnet20",
            "title": "yes",
            "runtime": {"keep_epochs": [2, 5]},
        }
    )
    assert ExperimentSpec.from_yaml(spec.to_yaml()) == spec
    assert read_yaml(spec.to_yaml()) == yaml.safe_load(spec.to_yaml())


def test_a_name_has_a_length_and_one_line_and_longer_ones_of_old_are_read(tmp_path: Path) -> None:
    for title in ("x" * 81, "two\nlines", "bell\x07"):
        with pytest.raises(BadInput, match="title"):
            ExperimentSpec.from_mapping({"title": title})
    old = ExperimentSpec.from_yaml("method: none\ntitle: '" + "x" * 200 + "'\n")
    assert old.title == "x" * 80


def test_the_shell_refuses_it_with_two(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("student: vgg8\nstudent: resnet20\n")
    found = subprocess.run(
        [sys.executable, "-m", "kdengine", "train", "--spec", str(file), "--print"], capture_output=True, text=True
    )
    assert found.returncode == 2 and "'student' is given twice" in found.stderr and "Traceback" not in found.stderr
