"""The typed experiment: one frozen object that describes a run completely, and from which every face is drawn.

The Launch form, the command line, the YAML file, the MLflow parameters, the preview of the command and the snapshot
stored with the run all come from `ExperimentSpec`. A data set's, model's or method's own parameters are validated by
asking the registry for their ``Params``; this module imports none of them.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, Self

import yaml
from pydantic import (
    ConfigDict,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from kdengine.errors import BadInput
from kdengine.registry import METHODS
from kdengine.spec.components import DataSpec, MethodSpec, ModelSpec
from kdengine.spec.fields import Settings, at_neutral, setting
from kdengine.spec.problems import field_errors, problems_of
from kdengine.spec.recipe import RecipeSpec
from kdengine.spec.runtime import RuntimeSpec
from kdengine.spec.short_forms import SPEC_VERSION, as_it_was_meant, check_version, recipe_for, teacher_from_text
from kdengine.spec.text import as_words, flatten, merge, nested, write_value
from kdengine.spec.yaml_text import read_yaml

MAX_TITLE = 80


class TeacherSpec(Settings):
    """The teacher: a finished run, a run of its own that is trained first, or a net that was imported.

    Written ``run: ID``, ``spec: {...}`` or ``import: NAME``. An import's ``digest`` pins its weights: filled in when a
    run is made (`kdengine.teachers.records.pinned`), and then part of the fingerprint in place of the name.
    """

    model_config = ConfigDict(populate_by_name=True)

    run: str | None = setting(None, title="Teacher run", description="Id of a finished run whose network teaches.")
    spec: ExperimentSpec | None = setting(
        None, title="Teacher spec", description="The run that trains the teacher first."
    )
    imported: str | None = setting(
        None, alias="import", title="Imported teacher", description="Name of a net that `kd import` brought in."
    )
    digest: str | None = setting(
        None, title="Digest", pattern="^[0-9a-f]{16}$", description="Of the import's weights; empty: as they are now."
    )

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if sum(kind is not None for kind in (self.run, self.spec, self.imported)) != 1:
            raise PydanticCustomError("teacher", "give one of run: ID, import: NAME and spec: {...}", {})
        if self.digest is not None and self.imported is None:
            raise PydanticCustomError("teacher", "a digest belongs to import: NAME alone", {})
        if self.spec is not None and self.spec.teacher is not None and self.spec.teacher.spec is not None:
            raise PydanticCustomError(
                "teacher", "a teacher to be trained may itself only have a finished run or an import as its teacher", {}
            )
        return self

    @model_serializer(mode="plain")
    def _write_what_is_set(self) -> dict[str, Any]:
        if self.imported is not None:
            return {"import": self.imported} | ({"digest": self.digest} if self.digest else {})
        return {"run": self.run} if self.run is not None else {"spec": self.spec.model_dump() if self.spec else None}

    def word(self) -> str:
        """What stands after ``--teacher``: run:ID, import:NAME@DIGEST, or the model to be trained first."""
        if self.imported is not None:
            return f"import:{self.imported}" + (f"@{self.digest}" if self.digest else "")
        return f"run:{self.run}" if self.run else self.label()

    def label(self) -> str:
        """The run's id, the import's name, or the model's."""
        return self.run or self.imported or self.spec.student.name  # type: ignore[union-attr]


class ExperimentSpec(Settings):
    """A run, described completely.

    ``ExperimentSpec(data="digits", teacher="resnet8x4", student="mobilenetv3_small", method="dkd")``: a name stands for
    ``{name: ...}``; a teacher's name for a run of its own on the same data under the same recipe; ``run:ID`` for a
    finished run; ``import:NAME`` for a net of one's own. Raises BadInput through `from_mapping`, pydantic's
    ValidationError when built directly.
    """

    title: str = setting(
        "", title="Name", advanced=True, description="A name of your own for the run; not part of its identity.",
        max_length=MAX_TITLE, pattern=r"^[^\x00-\x1f\x7f]*$",
    )  # fmt: skip
    data: DataSpec
    teacher: TeacherSpec | None = None
    student: ModelSpec
    method: MethodSpec
    recipe: RecipeSpec
    runtime: RuntimeSpec
    seed: int = setting(
        0,
        title="Seed",
        ge=0,
        lt=2**31,
        description="Decides initial weights, order and augmentation; the split has its own.",
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_short_forms(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        value = {"data": {}, "student": {}, "method": {}, "recipe": {}, "runtime": {}} | dict(value)
        check_version(value.pop("version", SPEC_VERSION))
        value = as_it_was_meant(value)
        value["recipe"] = recipe_for(value["recipe"], value["student"])
        if isinstance(value.get("teacher"), str):
            value["teacher"] = teacher_from_text(value["teacher"], value)
        return value

    @model_validator(mode="after")
    def _check_teacher(self) -> Self:
        method = METHODS.get(self.method.name)
        needs = method.requires(self.method.params).teacher
        if needs and self.teacher is None:
            raise PydanticCustomError(
                "teacher",
                "the method {method} needs a teacher: name a model, run:ID of a finished run, or import:NAME",
                {"method": self.method.name},
            )
        if self.teacher is not None and not needs:
            raise PydanticCustomError(
                "teacher",
                "the method {method} uses no teacher; leave it out or choose another method",
                {"method": self.method.name},
            )
        return self

    @model_validator(mode="after")
    def _check_mixing(self) -> Self:
        mixed = [name for name in ("mixup", "cutmix") if getattr(self.recipe, name)]
        if mixed and not METHODS.get(self.method.name).mixes:
            able = ", ".join(name for name in METHODS.names() if METHODS.get(name).mixes)
            message = f"{self.method.name} wants one class an image, mixed images have two; set 0, or use {able}"
            raise field_errors("ExperimentSpec", {f"recipe.{name}": message for name in mixed}, {})
        return self

    @model_validator(mode="after")
    def _check_accumulation(self) -> Self:
        if self.recipe.accumulate == 1:
            return self
        needs = METHODS.get(self.method.name).requires(self.method.params)
        message = ""
        if needs.batch_relations:
            able = ", ".join(name for name in METHODS.names() if _computes_in_parts(name))
            message = f"{self.method.name} {needs.batch_relations}: parts of a batch do not add up to the whole of it; "
            message += f"set 1, with a smaller batch if memory is short, or use {able}"
        elif needs.sampler == "same-class-pairs" and self.recipe.part_size % 2:
            message = f"{self.method.name} takes images in pairs, and a part of {self.recipe.part_size} would part one"
            message += "; choose batch and parts so that a part is even"
        if message:
            raise field_errors("ExperimentSpec", {"recipe.accumulate": message}, {})
        return self

    # to and from text ------------------------------------------------------------------------------------------------

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> ExperimentSpec:
        """Validates a nested mapping; raises BadInput with every problem, each with its dotted field.

        What a newer version wrote is refused in words, what an earlier one wrote is read.
        """
        try:
            return cls.model_validate(mapping)
        except ValidationError as error:
            raise BadInput(list(problems_of(error, cls))) from error

    @classmethod
    def from_yaml(cls, text: str) -> ExperimentSpec:
        """Reads what `to_yaml` wrote, or any YAML of the same shape; raises BadInput.

        A longer name than is given today, from an earlier version, is cut.
        """
        mapping = read_yaml(text)
        if not isinstance(mapping, Mapping):
            raise BadInput(f"expected a mapping with data, student, method..., found {type(mapping).__name__}")
        if isinstance(mapping.get("title"), str):
            mapping = {**mapping, "title": " ".join(mapping["title"].split())[:MAX_TITLE]}
        return cls.from_mapping(mapping)

    def to_yaml(self) -> str:
        """The whole spec, every default written out."""
        return yaml.safe_dump({"version": SPEC_VERSION} | self.model_dump(mode="json"), sort_keys=False)

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted path, e.g. ``method.temperature``: 4.0."""
        return dict(flatten(self.model_dump(mode="json")))

    def fingerprint(self) -> str:
        """16 hex digits over everything that decides the result; title and where it runs are left out.

        So are settings at the neutral value that they declare (`kdengine.spec.fields.setting`): one that comes later
        leaves the runs of before the runs that they are.
        """
        content = self.model_dump(mode="json")
        _drop_what_does_not_decide(content, self)
        text = json.dumps({"version": SPEC_VERSION} | content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def command(self) -> str:
        """A shell command that makes an equal spec: names as options, every other change as ``--set``."""
        words = ["kd", "train", "--dataset", self.data.name]
        short: dict[str, Any] = {"data": self.data.name, "student": self.student.name, "method": self.method.name}
        if self.teacher is not None:
            short["teacher"] = self.teacher.word()
            words += ["--teacher", short["teacher"]]
        words += ["--student", self.student.name, "--method", self.method.name]
        if self.recipe.name != "quick":
            words += ["--recipe", self.recipe.name]
        short["recipe"] = self.recipe.name
        words += _differences(self, short)
        return shlex.join(words)

    def label(self) -> str:
        """One line for tables: method, student, and teacher if any."""
        if self.teacher is None:
            return f"{self.method.name} · {self.student.name}"
        return f"{self.method.name} · {self.teacher_label()} → {self.student.name}"

    def teacher_label(self) -> str:
        """The teacher's run id, import or model name; "" without a teacher."""
        return self.teacher.label() if self.teacher is not None else ""


def with_settings(mapping: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """An experiment's mapping with ``path=value`` words laid over it; a teacher given by name is spelled out.

    Raises:
        BadInput: a word that is not ``path=value``, or a mapping that is no experiment where it must be spelled out.
    """
    changes = nested(assignments)
    inner = changes.get("teacher")
    if not isinstance(inner, Mapping) or not isinstance(mapping.get("teacher"), str):
        return merge(mapping, changes)
    outer = {key: value for key, value in changes.items() if key != "teacher"}
    spelled = ExperimentSpec.from_mapping(merge(mapping, outer)).model_dump(mode="json")
    return merge(spelled, {"teacher": inner})


def _differences(spec: ExperimentSpec, short: dict[str, Any]) -> list[str]:
    wanted = spec.flat()
    parts = {"data": spec.data, "student": spec.student, "method": spec.method}
    # What must be given, and what decides whether the method has a teacher: without it no spec can be read at all.
    first = [
        f"{part}.{name}"
        for part, component in parts.items()
        for name, info in type(component.params).model_fields.items()
        if info.is_required() or (part == "method" and getattr(component.params, name) != info.get_default())
    ]
    changes = {path: write_value(wanted[path]) for path in first}
    # A change can move a default that is derived from it (a teacher's data follow the student's): teachers come last.
    for teachers in (False, True):
        current = ExperimentSpec.from_mapping(with_settings(short, as_words(changes))).flat()
        for path, value in wanted.items():
            if current.get(path) != value and path.startswith("teacher.") == teachers:
                changes[path] = write_value(value)
    order = list(wanted)
    changes = dict(sorted(changes.items(), key=lambda item: (item[0].startswith("teacher."), order.index(item[0]))))
    return [word for change in as_words(changes) for word in ("--set", change)]


def _computes_in_parts(method: str) -> bool:
    """Whether a method, with its own defaults, allows a batch to be computed in parts."""
    entry = METHODS.get(method)
    return not entry.requires(entry.Params()).batch_relations


def _drop_what_does_not_decide(content: dict[str, Any], spec: ExperimentSpec) -> None:
    content.pop("title", None)
    content["runtime"] = {"precision": content["runtime"]["precision"]}
    components = {"data": spec.data, "student": spec.student, "method": spec.method}
    parts = [(part, settings) for part, one in components.items() for settings in (one, one.params)]
    for part, settings in (*parts, ("recipe", spec.recipe)):
        for name in at_neutral(settings):
            content[part].pop(name, None)
    for name in at_neutral(spec):
        content.pop(name, None)
    if spec.teacher is not None and spec.teacher.spec is not None:
        _drop_what_does_not_decide(content["teacher"]["spec"], spec.teacher.spec)
    if spec.teacher is not None and spec.teacher.digest:
        del content["teacher"]["import"]  # the weights decide, under whatever name
