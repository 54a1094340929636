"""What may be compared with what: arms under one recipe, on the same data, each a valid experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kdengine.comparison.plan import Plan, extended, make_plan
from kdengine.comparison.stored_plans import list_plans, load_plan, save_plan
from kdengine.errors import BadInput
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace

COMMON = {"data": {"name": "digits", "per_class": 10}, "student": "resnet20", "teacher": "resnet8x4"}


def plan(*arms: str, methods: tuple[str, ...] = ("kd", "byot"), **changes: Any) -> Plan:
    return make_plan("trial", COMMON | changes, methods, range(2), arms)


def test_the_student_alone_is_always_among_the_arms_with_and_without_cutmix() -> None:
    assert [arm.name for arm in plan().arms] == ["none", "none, cutmix", "kd", "byot"]
    assert [arm.name for arm in plan(methods=("none", "kd")).arms] == ["none", "none, cutmix", "kd"]
    specs = {cell.arm: cell.spec for cell in plan().cells}
    assert specs["none, cutmix"].recipe.cutmix == 1 and specs["none"].recipe.cutmix == 0


def test_every_arm_is_the_experiment_that_kd_train_would_make() -> None:
    found = {(cell.arm, cell.seed): cell.spec.fingerprint() for cell in plan().cells}
    wanted = {
        ("kd", 1): COMMON | {"method": "kd", "seed": 1},
        ("byot", 0): {key: value for key, value in COMMON.items() if key != "teacher"} | {"method": "byot"},
        ("none", 1): {key: value for key, value in COMMON.items() if key != "teacher"} | {"method": "none", "seed": 1},
    }
    assert {key: found[key] for key in wanted} == {
        key: ExperimentSpec.from_mapping(mapping).fingerprint() for key, mapping in wanted.items()
    }


def test_one_teacher_and_one_split_for_all_seeds() -> None:
    cells = [cell.spec for cell in plan().cells if cell.arm == "kd"]
    teachers = {cell.teacher.spec.fingerprint() for cell in cells if cell.teacher and cell.teacher.spec}
    assert len(cells) == 2 and len(teachers) == 1
    assert {cell.data.split_seed for cell in cells} == {0}


def test_an_arm_may_have_settings_a_student_and_a_teacher_of_its_own() -> None:
    wide = plan(
        "b2 method=dkd method.beta=2", "cip method=kd teacher=resnet20_cip", "light student=resnet20_light method=none"
    )
    specs = {cell.arm: cell.spec for cell in wide.cells}
    assert specs["b2"].method.params.model_dump()["beta"] == 2
    assert specs["cip"].teacher_label() == "resnet20_cip" and specs["kd"].teacher_label() == "resnet8x4"
    assert specs["light"].student.name == "resnet20_light" and specs["light"].teacher is None


@pytest.mark.parametrize(
    ("arms", "methods", "says"),
    [
        (
            ["fast method=kd recipe.lr=0.2"],
            (),
            r"arm 'fast': differs in recipe\.lr \(0\.2 instead of 0\.05\); arms of a",
        ),
        (["more method=kd data.per_class=20"], (), r"arm 'more': differs in data\.per_class \(20 instead of 10\)"),
        (["b2 method=dkd method.betta=2"], (), r"arm 'b2', method\.betta: .*no such setting.*beta"),
        ([], ("dcadd",), r"arm 'dcadd', method\.name: there is no method 'dcadd'; did you mean 'dcad'"),
        (["kd method=kd"], ("kd",), r"found \['kd'\] twice"),
        (["words only"], (), r"--arm: found 'words only', expected a name and settings"),
        (["cut method=dkd recipe.cutmix=1", "c method=crd recipe.cutmix=1"], (), r"wants one class an image"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(arms: list[str], methods: tuple[str, ...], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        plan(*arms, methods=methods)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        make_plan("trial", {"student": "resnet20"}, ["kd", "nix"], range(2), ["a recipe.epochs=3 method=none"])
    words = str(caught.value)
    assert "'kd', teacher: the method kd needs a teacher" in words and "'nix'" in words and "recipe.epochs" in words


@pytest.mark.parametrize("name", ["", "../elsewhere", "a b", "x" * 60])
def test_a_name_that_is_no_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="letters, digits"):
        make_plan(name, COMMON, ["kd"], range(2))
    with pytest.raises(BadInput, match="is no name"):
        load_plan(Workspace(tmp_path), name)


def test_it_is_kept_extended_and_not_turned_into_another(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(BadInput, match="there is no comparison 'trial'; there are: none yet"):
        load_plan(workspace, "trial")
    save_plan(plan(), workspace)
    assert load_plan(workspace, "trial") == plan() and list_plans(workspace) == ["trial"]
    save_plan(plan("b2 method=dkd method.beta=2"), workspace)
    assert "b2" in [arm.name for arm in load_plan(workspace, "trial").arms]
    with pytest.raises(BadInput, match="of another experiment"):
        save_plan(plan(student="resnet8x4"), workspace)
    with pytest.raises(BadInput, match="with other settings for b2"):
        save_plan(plan("b2 method=dkd method.beta=3"), workspace)
    (workspace.comparisons / "trial" / "plan.yaml").write_text("name: [")
    with pytest.raises(BadInput, match="is not the plan of a comparison"):
        load_plan(workspace, "trial")


def test_seeds_and_methods_are_added_and_nothing_else_changes(tmp_path: Path) -> None:
    workspace, before = Workspace(tmp_path), plan("warm method=kd method.temperature=2")
    save_plan(before, workspace)
    after = extended(load_plan(workspace, "trial"), 4, ["dkd", "kd"])
    save_plan(after, workspace)
    assert load_plan(workspace, "trial") == after
    assert after.seeds == (0, 1, 2, 3) and [arm.name for arm in after.arms] == [arm.name for arm in before.arms] + [
        "dkd"
    ]
    kept = {cell.fingerprint for cell in before.cells}
    assert kept < {cell.fingerprint for cell in after.cells} and len(after.cells) == 4 * 6
    assert extended(after, 4, []) == after
    with pytest.raises(BadInput, match="seeds are not removed"):
        extended(after, 3, [])
    with pytest.raises(BadInput, match="nobody"):
        extended(after, 4, ["nobody"])


def test_further_seeds_count_on_from_the_largest() -> None:
    gaps = make_plan("trial", COMMON, ["kd"], (3, 7))
    assert extended(gaps, 4, []).seeds == (3, 7, 8, 9)
