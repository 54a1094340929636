"""What is compared with what: arms under one recipe, on the same data, with the same seeds."""

from __future__ import annotations

import re
import shlex
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Self

import yaml
from pydantic import ValidationError, model_validator
from pydantic_core import PydanticCustomError

from kdengine.errors import BadInput, Problem
from kdengine.registry import METHODS
from kdengine.spec import ExperimentSpec, merge, nested, unflatten
from kdengine.spec.experiment import MAX_TITLE
from kdengine.spec.fields import Settings, setting
from kdengine.teachers.records import PREFIX, pinned_mapping
from kdengine.workspace import Workspace

ALONE = "none"
ALONE_CUTMIX = "none, cutmix"
SOFT_TARGETS = "kd"
COMPARISON = "comparison"
"""In a run's status: the comparison that it was queued for, by name."""
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,47}\Z", re.IGNORECASE)
# Regularisation of the labels and images is what an arm may be about; the rest of a recipe is the same for all.
ARM_PARTS = ("method", "student", "teacher")
FREE_IN_RECIPE = ("mixup", "cutmix", "label_smoothing")
TUNED = ", tuned"
SEARCH_SEED = 1000
"""Of every trial of a search; no arm is compared with it. The seeds of a comparison count up from 0."""
TUNED_IN_RECIPE = "lr"
"""What of a recipe is searched for each arm, and thus its own in a tuned one."""


class Tuning(Settings):
    """The search for every arm's settings: the same budget for each, the student alone among them.

    Attributes:
        trials: of each arm, complete or pruned; the first has the documented defaults.
        epochs: of all trials of an arm together; pruned trials leave room for more of them.
    """

    trials: int | None = setting(None, title="Trials", description="Of each arm.", ge=2, le=1000)
    epochs: int | None = setting(None, title="Epochs", description="Of all trials of an arm together.", ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.trials is None and self.epochs is None:
            raise PydanticCustomError("tuning", "without an end: give the trials of each arm, or their epochs", {})
        return self


def tuning_of(
    trials: int | None, epochs: int | None = None, fields: Sequence[str] = ("tune", "tune_epochs")
) -> Tuning | None:
    """The search that was asked for; None for 0 trials or none.

    Args:
        trials, epochs: of each arm.
        fields: what problems with either are said to be problems of.

    Raises:
        BadInput: a number that cannot be.
    """
    if not trials and epochs is None:
        return None
    try:
        return Tuning(trials=trials, epochs=epochs)
    except ValidationError as error:
        words = dict(zip(("trials", "epochs"), fields, strict=True))
        problems = [Problem(words[str(item["loc"][0])], item["msg"]) for item in error.errors()]
        raise BadInput(problems) from error


class Search(Settings):
    """Where the settings of a tuned arm come from.

    Attributes:
        arm: whose settings were searched.
        study: that searched them.
        values: dotted path -> value: the best trial's.
        trials, epochs: what the search has used.
        validation, default: best validation accuracy (0..1) of that trial, and of the one with the defaults.
    """

    arm: str = setting(..., title="Arm", description="Whose settings were searched.")
    study: str = setting(..., title="Study", description="That searched them.")
    values: dict[str, bool | int | float | str] = setting(..., title="Values", description="The best trial's.")
    trials: int = setting(..., title="Trials", description="Complete or pruned.", ge=0)
    epochs: int = setting(..., title="Epochs", description="Of all trials.", ge=0)
    validation: float = setting(..., title="Validation", description="Of the best trial.", ge=0, le=1)
    default: float | None = setting(None, title="Default", description="Of the trial with the defaults.", ge=0, le=1)


class Arm(Settings):
    """One row of the comparison.

    Attributes:
        name: of the row.
        changes: what it lays over the common experiment: method, student, teacher, or mixing and smoothing.
        search: what it is tuned by; None for an arm as it was asked for.
    """

    name: str = setting(..., title="Arm", description="Name of the row.", min_length=1, max_length=80)
    changes: dict[str, Any] = setting({}, title="Changes", description="What differs from the common experiment.")
    search: Search | None = setting(None, title="Search", description="Where the settings of a tuned arm come from.")


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
        tuning: whether the settings of the arms are searched first, and how; each arm then has a tuned one beside it.
    """

    name: str = setting(..., title="Name", description="Letters, digits, '.', '_' and '-'.")
    common: dict[str, Any] = setting(..., title="Common", description="The experiment that all arms share.")
    arms: tuple[Arm, ...] = setting(..., title="Arms", description="What is compared.", min_length=1)
    seeds: tuple[int, ...] = setting(..., title="Seeds", description="Each arm is run with each.", min_length=1)
    tuning: Tuning | None = setting(None, title="Tuning", description="The search for every arm's settings.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not NAME.match(self.name):
            raise PydanticCustomError("spec", "{name}: found this name, expected letters, digits, '.', '_', '-', 48 at "
                                      "most", {"name": repr(self.name)})  # fmt: skip
        if self.tuning is not None and SEARCH_SEED in self.seeds:
            raise PydanticCustomError("spec", "seeds: found {seed}, which is the search's", {"seed": str(SEARCH_SEED)})
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

    @property
    def asked(self) -> tuple[Arm, ...]:
        """The arms as they were asked for, without the tuned ones."""
        return tuple(arm for arm in self.arms if arm.search is None)

    def tuned(self, name: str) -> Arm | None:
        """The arm with the tuned settings of the named one; None while there is none."""
        return next((arm for arm in self.arms if arm.search is not None and arm.search.arm == name), None)

    def changed(self, **values: Any) -> Plan:
        """The plan with other values of its attributes, checked anew."""
        return Plan(**{name: getattr(self, name) for name in type(self).model_fields} | values)

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
    tuning: Tuning | None = None,
) -> Plan:
    """A plan from what a person names; the student alone is always among the arms.

    Args:
        name: of the comparison.
        mapping: the common experiment, as `kd train` takes it; its method does not count.
        methods: an arm each, with the method's defaults; a teacher is left out where the method uses none.
        seeds: of every arm.
        arms: further ones, each a name and settings in the form of a shell: ``"dkd beta 2 method=dkd method.beta=2"``.
        cutmix: whether the student alone with CutMix is an arm too: the baseline that regularisation alone gives.
        tuning: the search for every arm's settings; None compares the arms as they are.

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
        arms_ = (*alone, *mixed, *wanted, *further)
        plan = Plan(name=name, common=common, arms=arms_, seeds=tuple(seeds), tuning=tuning)
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
    whole = plan.changed(arms=(*plan.arms, *new), seeds=(*plan.seeds, *further))
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
        free = (*FREE_IN_RECIPE, TUNED_IN_RECIPE) if arm.search else FREE_IN_RECIPE
        differing = _differences(_shared(plan.common, free), _shared(spec.model_dump(mode="json"), free))
        if differing:
            message = f"differs in {', '.join(differing)}; arms of a comparison share recipe, data and precision"
            problems.append(Problem(f"arm {arm.name!r}", message))
    return problems


def candidates(teacher: Any) -> list[str]:
    """Every method beside the student alone; without a teacher ("", "none", None) those that need none.

    Args:
        teacher: as an experiment's mapping names it.
    """
    there = teacher not in (None, "", "none")
    return [name for name in METHODS.names() if name != ALONE and (there or not _uses_teacher({"name": name}))]


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
    arms = tuple(
        Arm(name=arm.name, changes=pinned_mapping(arm.changes, workspace), search=arm.search) for arm in plan.arms
    )
    if (common, arms) == (plan.common, plan.arms):
        return plan
    return plan.changed(common=common, arms=arms)


def with_tuned(plan: Plan, search: Search) -> Plan:
    """The plan with the tuned settings of an arm as an arm of their own, right after it.

    Raises:
        BadInput: the settings cannot be those of that arm.
    """
    arm = next(arm for arm in plan.asked if arm.name == search.arm)
    tuned = Arm(name=f"{arm.name}{TUNED}", changes=merge(arm.changes, unflatten(search.values)), search=search)
    others = [each for each in plan.arms if each.search is None or each.search.arm != arm.name]
    place = others.index(arm) + 1
    whole = plan.changed(arms=(*others[:place], tuned, *others[place:]))
    if problems := check(whole):
        raise BadInput(problems)
    return whole


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


def _shared(mapping: Mapping[str, Any], free: Container[str]) -> dict[str, Any]:
    recipe = {key: value for key, value in mapping["recipe"].items() if key not in free}
    return {"data": mapping["data"], "recipe": recipe, "runtime": {"precision": mapping["runtime"]["precision"]}}


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [
        f"{part}.{key} ({theirs[part].get(key)!r} instead of {value!r})"
        for part in ours
        for key, value in ours[part].items()
        if theirs[part].get(key) != value
    ]
