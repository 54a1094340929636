"""What is compared with what: arms under one recipe, on the same data, with the same seeds."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Self

import yaml
from pydantic import ValidationError, model_validator
from pydantic_core import PydanticCustomError

from kdengine.errors import BadInput, DamagedFile, Problem
from kdengine.registry import METHODS
from kdengine.spec import ExperimentSpec, merge, nested
from kdengine.spec.experiment import MAX_TITLE
from kdengine.spec.fields import Settings, setting
from kdengine.teachers.records import PREFIX, pinned_mapping
from kdengine.workspace import Workspace, files

ALONE = "none"
ALONE_CUTMIX = "none, cutmix"
SOFT_TARGETS = "kd"
COMPARISON = "comparison"
"""In a run's status: the comparison that it was queued for, by name."""
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,47}\Z", re.IGNORECASE)
# Regularisation of the labels and images is what an arm may be about; the rest of a recipe is the same for all.
ARM_PARTS = ("method", "student", "teacher")
FREE_IN_RECIPE = ("mixup", "cutmix", "label_smoothing")


class Arm(Settings):
    """One row of the comparison.

    Attributes:
        name: of the row.
        changes: what it lays over the common experiment: method, student, teacher, or mixing and smoothing.
    """

    name: str = setting(..., title="Arm", description="Name of the row.", min_length=1, max_length=80)
    changes: dict[str, Any] = setting({}, title="Changes", description="What differs from the common experiment.")


class Cell(NamedTuple):
    """One run of a comparison: its arm, its seed, the experiment, and the experiment's fingerprint."""

    arm: str
    seed: int
    spec: ExperimentSpec
    fingerprint: str


class Plan(Settings):
    """Arms x seeds. The seeds vary initial weights, order and augmentation; split and teacher are the same for all.

    Attributes:
        name: of the comparison, and of its folder.
        common: the experiment that all arms share, as a mapping of `ExperimentSpec` with every default written out.
        arms: the rows, each with a name of its own.
        seeds: of every arm.
    """

    name: str = setting(..., title="Name", description="Letters, digits, '.', '_' and '-'.")
    common: dict[str, Any] = setting(..., title="Common", description="The experiment that all arms share.")
    arms: tuple[Arm, ...] = setting(..., title="Arms", description="What is compared.", min_length=1)
    seeds: tuple[int, ...] = setting(..., title="Seeds", description="Each arm is run with each.", min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not NAME.match(self.name):
            raise PydanticCustomError("spec", "{name}: found this name, expected letters, digits, '.', '_', '-', 48 at "
                                      "most", {"name": repr(self.name)})  # fmt: skip
        for what, values in (("arms", [arm.name for arm in self.arms]), ("seeds", list(map(str, self.seeds)))):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise PydanticCustomError("spec", "{what}: found {twice} twice", {"what": what, "twice": str(twice)})
        return self

    def spec(self, arm: Arm, seed: int) -> ExperimentSpec:
        """The experiment of one arm and seed; raises BadInput."""
        mapping = lay_over(self.common, arm.changes)
        if mapping["runtime"].get("replay", "auto") == "auto":
            # Arms of one seed see the same views: what one has asked the teacher, the others need not ask again.
            mapping = merge(mapping, {"runtime": {"replay": "on"}})
        tail = f", seed {seed}"
        title = f"{self.name}: {arm.name}"[: MAX_TITLE - len(tail)] + tail
        return ExperimentSpec.from_mapping(mapping | {"seed": seed, "title": title})

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All runs, seed by seed: all arms meet the same hour, and a table cut short has as many seeds of each.

        Made once: a page that looks every other second must not validate a hundred experiments each time.
        """
        found = [(arm, seed, self.spec(arm, seed)) for seed in self.seeds for arm in self.arms]
        return tuple(Cell(arm.name, seed, spec, spec.fingerprint()) for arm, seed, spec in found)

    def teacher(self) -> ExperimentSpec | str | None:
        """The teacher that the arms share by default: its experiment, id of its run, or import:NAME; None without."""
        common = self.common.get("teacher")
        if not common:
            return None
        if common.get("import"):
            return f"{PREFIX}{common['import']}"
        return common["run"] if common.get("run") else ExperimentSpec.from_mapping(common["spec"])

    def to_yaml(self) -> str:
        """The plan as text."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def make_plan(
    name: str,
    mapping: Mapping[str, Any],
    methods: Sequence[str],
    seeds: Iterable[int],
    arms: Sequence[str] = (),
    *,
    cutmix: bool = True,
) -> Plan:
    """A plan from what a person names; the student alone is always among the arms.

    Args:
        name: of the comparison.
        mapping: the common experiment, as `kd train` takes it; its method does not count.
        methods: an arm each, with the method's defaults; a teacher is left out where the method uses none.
        seeds: of every arm.
        arms: further ones, each a name and settings in the form of a shell: ``"dkd beta 2 method=dkd method.beta=2"``.
        cutmix: whether the student alone with CutMix is an arm too: the baseline that regularisation alone gives.

    Raises:
        BadInput: every problem at once: unknown methods or settings, a method without its teacher, arms that do not
            share recipe and data.
    """
    common = _resolve(mapping)
    wanted = [Arm(name=method, changes={"method": method}) for method in methods if method != ALONE]
    further, problems = [], []
    for text in arms:
        try:
            further.append(_read_arm(text))
        except BadInput as error:
            problems += error.problems
    alone = [Arm(name=ALONE, changes={"method": "none"})]
    mixed = [Arm(name=ALONE_CUTMIX, changes={"method": "none", "recipe": {"cutmix": 1.0}})] if cutmix else []
    try:
        plan = Plan(name=name, common=common, arms=(*alone, *mixed, *wanted, *further), seeds=tuple(seeds))
    except ValidationError as error:
        problems += [Problem("compare", item["msg"]) for item in error.errors()]
        raise BadInput(problems) from error
    problems += check(plan)
    if problems:
        raise BadInput(problems)
    return plan


def extended(plan: Plan, seeds: int, methods: Sequence[str]) -> Plan:
    """The plan with more seeds and arms; what is there stays as it is.

    Args:
        plan: to be extended.
        seeds: how many it shall have; the new ones count up from the largest.
        methods: an arm each, with the method's defaults; those that are there already change nothing.

    Raises:
        BadInput: fewer seeds than there are; or a new arm that cannot be (see `make_plan`).
    """
    if seeds < len(plan.seeds):
        raise BadInput(
            Problem("seeds", f"found {seeds}, but {plan.name!r} has {len(plan.seeds)}; seeds are not removed")
        )
    known = {arm.name for arm in plan.arms}
    new = tuple(Arm(name=method, changes={"method": method}) for method in methods if method not in known)
    further = range(max(plan.seeds) + 1, max(plan.seeds) + 1 + seeds - len(plan.seeds))
    whole = Plan(name=plan.name, common=plan.common, arms=(*plan.arms, *new), seeds=(*plan.seeds, *further))
    if problems := check(whole):
        raise BadInput(problems)
    return whole


def check(plan: Plan) -> list[Problem]:
    """What is wrong with the arms: experiments that cannot be, and arms that do not share recipe, data or precision."""
    problems = []
    for arm in plan.arms:
        try:
            spec = plan.spec(arm, plan.seeds[0])
        except BadInput as error:
            problems += [Problem(f"arm {arm.name!r}, {problem.field}", problem.message) for problem in error.problems]
            continue
        differing = _differences(_shared(plan.common), _shared(spec.model_dump(mode="json")))
        if differing:
            message = f"differs in {', '.join(differing)}; arms of a comparison share recipe, data and precision"
            problems.append(Problem(f"arm {arm.name!r}", message))
    return problems


def lay_over(common: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The common experiment with an arm's changes.

    A method or student is replaced whole when it is another one: settings of ``kd`` mean nothing to ``dkd``. A teacher
    that the arm's method does not use is left out.
    """
    mapping = dict(common)
    for part in ("method", "student"):
        change = changes.get(part)
        named = {"name": change} if isinstance(change, str) else dict(change or {})
        if named.get("name", mapping[part]["name"]) == mapping[part]["name"]:
            mapping[part] = mapping[part] | named
        else:
            mapping[part] = named
    teacher = changes.get("teacher")
    trained = (common.get("teacher") or {}).get("spec")
    if isinstance(teacher, str) and trained and not teacher.startswith(("run:", PREFIX)):
        mapping["teacher"] = {"spec": trained | {"student": teacher}}
    elif isinstance(teacher, Mapping) and teacher.keys() & {"run", "import"}:
        mapping["teacher"] = teacher
    elif teacher is not None:
        mapping = merge(mapping, {"teacher": teacher})
    mapping = merge(mapping, {key: value for key, value in changes.items() if key not in ARM_PARTS})
    if not _uses_teacher(mapping["method"]):
        mapping["teacher"] = None
    return mapping


def pinned(plan: Plan, workspace: Workspace) -> Plan:
    """The plan with the digest of every imported teacher written in; raises BadInput where there is no such import."""
    common = pinned_mapping(plan.common, workspace)
    arms = tuple(Arm(name=arm.name, changes=pinned_mapping(arm.changes, workspace)) for arm in plan.arms)
    if (common, arms) == (plan.common, plan.arms):
        return plan
    return Plan(name=plan.name, common=common, arms=arms, seeds=plan.seeds)


def _uses_teacher(method: Mapping[str, Any]) -> bool:
    try:
        cls = METHODS.get(method["name"])
        settings = {key: value for key, value in method.items() if key != "name"}
        return bool(cls.requires(cls.Params.model_validate(settings)).teacher)
    except ValueError:  # an unknown name or a setting out of bounds
        return True  # the experiment's own check says what is wrong


def _resolve(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The common experiment with every default written out; its method is a stand-in that takes the teacher, if any."""
    has_teacher = mapping.get("teacher") not in (None, "", "none")
    spec = ExperimentSpec.from_mapping(dict(mapping) | {"method": {"name": SOFT_TARGETS if has_teacher else ALONE}})
    return spec.model_dump(mode="json")


def _read_arm(text: str) -> Arm:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadInput(Problem("--arm", f"cannot read {text!r}: {error}")) from error
    # `method=dkd method.beta=2`: a name and settings of the same part.
    settings = [re.sub(r"^(method|student)=", r"\1.name=", word) for word in words if "=" in word]
    name = " ".join(word for word in words if "=" not in word)
    if not settings:
        raise BadInput(Problem("--arm", f"found {text!r}, expected a name and settings, e.g. 'warm method=dkd'"))
    return Arm(name=name or " ".join(settings), changes=nested(settings))


def _shared(mapping: Mapping[str, Any]) -> dict[str, Any]:
    recipe = {key: value for key, value in mapping["recipe"].items() if key not in FREE_IN_RECIPE}
    return {"data": mapping["data"], "recipe": recipe, "runtime": {"precision": mapping["runtime"]["precision"]}}


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [
        f"{part}.{key} ({theirs[part].get(key)!r} instead of {value!r})"
        for part in ours
        for key, value in ours[part].items()
        if theirs[part].get(key) != value
    ]


# on disk --------------------------------------------------------------------------------------------------------------


def save_plan(plan: Plan, workspace: Workspace) -> None:
    """Writes the plan; the same plan again changes nothing, more seeds or arms extend it.

    Raises:
        BadInput: there is a comparison of that name with another common experiment, or another arm of the same name.
    """
    workspace.settle(new=True)
    file = plan_file(workspace, plan.name)
    if file.is_file():
        _check_extends(load_plan(workspace, plan.name), plan)
    files.write_text(file, plan.to_yaml())


def load_plan(workspace: Workspace, name: str) -> Plan:
    """Reads a plan; raises BadInput when there is none, or the file is not one."""
    file = plan_file(workspace, name)
    try:
        return Plan.model_validate(yaml.safe_load(files.read_text(file, "YAML")))
    except FileNotFoundError as error:
        known = ", ".join(list_plans(workspace)) or "none yet"
        raise BadInput(Problem("compare", f"there is no comparison {name!r}; there are: {known}")) from error
    except (yaml.YAMLError, ValidationError, DamagedFile) as error:
        raise BadInput(Problem("compare", f"{file} is not the plan of a comparison: {error}")) from error


def list_plans(workspace: Workspace) -> list[str]:
    """Names of the comparisons of a workspace, the newest first."""
    found = workspace.comparisons.glob("*/plan.yaml")
    return [path.parent.name for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


def plan_file(workspace: Workspace, name: str) -> Any:
    """Where a plan is kept; raises BadInput for what cannot be a name ("../elsewhere" among it)."""
    if not NAME.match(name):
        raise BadInput(Problem("compare", f"{name!r} is no name (letters, digits, '.', '_', '-', 48 at most)"))
    return workspace.comparisons / name / "plan.yaml"


def _check_extends(old: Plan, new: Plan) -> None:
    where = f"there is a comparison {old.name!r} already"
    # What does not decide the result may differ: settings that came later, where it runs.
    if len({ExperimentSpec.from_mapping(plan.common).fingerprint() for plan in (old, new)}) > 1:
        raise BadInput(Problem("compare", f"{where}, of another experiment; give this one another name"))
    changes = {arm.name: arm.changes for arm in old.arms}
    other = [arm.name for arm in new.arms if changes.get(arm.name, arm.changes) != arm.changes]
    if other:
        raise BadInput(
            Problem("compare", f"{where}, with other settings for {', '.join(other)}; name them differently")
        )
