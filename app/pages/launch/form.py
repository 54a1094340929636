"""The form of the Launch page: every control, and the way from what they hold to an experiment and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app import catalog, ready
from app.forms import Control, gather
from kdengine.errors import BadInput
from kdengine.spec import ExperimentSpec, merge
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

DEFAULTS = {"data": "digits", "teacher": ready.TEACHER, "student": ready.STUDENT, "method": "kd"}

Values = dict[Any, Any]
"""Component -> what it shows."""

Found = dict[str, Any]
"""What the check of networks and data found: ``yaml`` of the experiment, and its ``problems`` as (field, message)."""

NOTHING_FOUND: Found = {"yaml": "", "problems": []}


@dataclass(eq=False)
class Form:
    """Every control of the page, and the groups that show only for one choice of a card.

    ``token`` names this form to the queue; ``found`` holds what the check of networks and data found.

    Args:
        workspace: whose data sets and runs can be chosen.
    """

    workspace: Workspace
    data: Any = None
    teacher: Any = None
    student: Any = None
    method: Any = None
    recipe: Any = None
    seeds: Any = None
    token: Any = None
    found: Any = None
    shared: list[Control] = field(default_factory=list)
    own: dict[tuple[str, str], list[Control]] = field(default_factory=dict)
    groups: dict[tuple[str, str], Any] = field(default_factory=dict)

    def controls(self) -> list[Control]:
        """All but the pickers and the number of seeds."""
        return [*self.shared, *(control for controls in self.own.values() for control in controls)]

    def pickers(self) -> list[Any]:
        """Data, teacher, student, method and recipe, in the order of `shown`."""
        return [self.data, self.teacher, self.student, self.method, self.recipe]

    def inputs(self) -> set[Any]:
        """All that decides what is launched."""
        return {*self.pickers(), self.seeds, self.token, *(control.component for control in self.controls())}

    def group(self, kind: str) -> list[Any]:
        """The boxes of all methods, students or data sets, one of which shows."""
        return [group for (group_kind, _), group in self.groups.items() if group_kind == kind]

    def component(self, path: str) -> Any:
        """The component of a shared setting."""
        return next(control.component for control in self.shared if control.path == path)

    def at(self, values: Values) -> dict[str, Any]:
        """Path of a problem -> the component that shows for these choices and marks the problem."""
        chosen = {"method": values[self.method], "student": values[self.student]}
        named: dict[str, Any] = {"seeds": self.seeds}
        for kind, picker in (("data", self.data), ("student", self.student), ("method", self.method)):
            named |= dict.fromkeys((kind, f"{kind}.name"), picker)
        named |= dict.fromkeys(("data.path", "data.params.path"), self.data)
        named |= {"recipe": self.recipe, "recipe.name": self.recipe}
        teacher = ("teacher", "teacher.run", "teacher.import", "teacher.spec.student", "teacher.spec.student.name")
        named |= dict.fromkeys(teacher, self.teacher)
        for (kind, name), controls in self.own.items():
            if chosen.get(kind, name) == name:
                named |= {control.path: control.component for control in controls}
        return named | {control.path: control.component for control in self.shared}

    # from the page to an experiment ---------------------------------------------------------------------------------

    def spec(self, values: Values) -> ExperimentSpec:
        """The experiment that the page describes; raises BadInput with every problem."""
        return ExperimentSpec.from_mapping(self._mapping(values))

    def without_method(self, values: Values) -> tuple[dict[str, Any], str]:
        """Data, student and recipe as a spec's mapping, and the chosen teacher: what any method could be used with.

        Raises:
            BadInput: the chosen data are not there.
        """
        return self._gathered(values, ("student", "data")), self._teacher(values)

    def _mapping(self, values: Values) -> dict[str, Any]:
        mapping = self._gathered(values, ("method", "student", "data"))
        settings = {key: value for key, value in mapping["method"].items() if key != "name"}
        if catalog.needs_teacher(values[self.method], settings):
            mapping["teacher"] = self._teacher(values)
        return mapping

    def _gathered(self, values: Values, kinds: tuple[str, ...]) -> dict[str, Any]:
        """What the cards of these kinds choose, each with its own settings, and all that is shared."""
        chosen = {
            "data": catalog.data_mapping(self.workspace, values[self.data]),
            "student": {"name": values[self.student]},
            "method": {"name": values[self.method]},
        }
        names = {kind: chosen[kind] for kind in kinds}
        controls = list(self.shared)
        for kind in kinds:
            controls += self.own.get((kind, names[kind]["name"]), [])
        return merge(names | {"recipe": {"name": values[self.recipe]}}, gather(controls, values))

    def _teacher(self, values: Values) -> str:
        return (values[self.teacher] or "").strip()

    # and back -------------------------------------------------------------------------------------------------------

    def shown(self, spec: ExperimentSpec, run: RunDirectory | None = None) -> Values:
        """What every picker and control shows for an experiment.

        Args:
            spec: the experiment.
            run: made from it, if any: the teacher that it had trained first is then chosen itself, so that settings of
                the teacher's own are not lost.
        """
        content = spec.model_dump(mode="json")
        flat = spec.flat()
        chosen = {("method", spec.method.name), ("student", spec.student.name), ("data", spec.data.name)}
        values: Values = {
            self.data: catalog.data_choice(self.workspace, content["data"]),
            self.student: spec.student.name,
            self.method: spec.method.name,
            self.recipe: spec.recipe.name,
        }
        if spec.teacher is not None:
            values[self.teacher] = spec.teacher.word().partition("@")[0]
        values |= _shown(self.shared, flat)
        for key, controls in self.own.items():
            values |= _shown(controls, flat) if key in chosen else {}
        trained = run.status().get("teacher_run") if run is not None else None
        if trained and self._lost(values, spec) and self.workspace.run(trained).state() is State.FINISHED:
            values[self.teacher] = f"run:{trained}"
        return values

    def not_shown(self, values: Values, spec: ExperimentSpec) -> list[str]:
        """Settings of an experiment that the page cannot show, and what stands in their place."""
        try:
            found = self.spec(self.defaults() | values).flat()
        except BadInput:
            return []  # what is wrong with it stands at its fields
        wanted = spec.flat()
        if str(values.get(self.teacher, "")).startswith("run:"):
            # The teacher itself is chosen: how it would be trained is no question any more.
            wanted = {path: value for path, value in wanted.items() if not path.startswith("teacher.")}
        return [
            f"{path} was {value!r}, the form shows {found.get(path)!r}"
            for path, value in wanted.items()
            if found.get(path) != value and path != "teacher.digest"
        ]

    def defaults(self) -> Values:
        """What the page shows before anybody has changed anything."""
        return {component: component.value for component in self.inputs()}

    def _lost(self, values: Values, spec: ExperimentSpec) -> bool:
        return any(line.startswith("teacher.") for line in self.not_shown(values, spec))


def _shown(controls: list[Control], flat: dict[str, Any]) -> Values:
    return {control.component: control.to_shown(flat[control.path]) for control in controls if control.path in flat}
