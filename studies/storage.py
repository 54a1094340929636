"""Where Optuna keeps its studies: SQLite in the workspace, or the server that ``KD_STUDY_STORAGE`` names."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study
from pydantic import ValidationError
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from kdengine.errors import BadInput, DiskFull, KdError, Problem
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace, files, sqlite_url
from studies import schema
from studies.plan import Budget, StudyPlan

log = logging.getLogger(__name__)

VARIABLE = "KD_STUDY_STORAGE"
PLAN, BUDGET, ENDING, PAIR = "plan", "budget", "ending", "pair"
_NOTE = "note:"
PATIENCE_S = 10
GOES_ON = "Nothing of a study is lost: its runs go on as jobs, and it continues (kd study resume NAME) when"

optuna.logging.set_verbosity(optuna.logging.WARNING)


def address(workspace: Workspace) -> str:
    """URL of the database."""
    return os.environ.get(VARIABLE) or sqlite_url(workspace.studies_db)


def shown(url: str) -> str:
    """The URL without its password."""
    return re.sub(r"(://[^:/@]+):[^@]*@", r"\1:***@", url)


def connect(workspace: Workspace) -> BaseStorage:
    """Opens the database, and makes it where there is none.

    Raises:
        KdError: it cannot be reached or used; the message says where it should be and what to do.
    """
    url = address(workspace)
    own = url.startswith("sqlite")
    if own:
        workspace.check_writable()
    waits = {"timeout": PATIENCE_S} if own else {"connect_timeout": PATIENCE_S}
    with _in_words(url):
        # Two processes that make the tables at once would meet.
        if own:
            with files.lock(workspace.root / ".studies.lock"):
                return schema.opened(url, {"connect_args": waits}, workspace)
        return schema.opened(url, {"connect_args": waits, "pool_pre_ping": True})


def opened(workspace: Workspace) -> BaseStorage:
    """The database as `connect` gives it, kept for as long as this process lives: pages read it often."""
    return _opened(address(workspace), str(workspace.root))


@lru_cache(maxsize=8)
def _opened(url: str, root: str) -> BaseStorage:
    # Wrapped as Optuna's own functions do it: ended trials are read once.
    return optuna.storages.get_storage(connect(Workspace(root)))


@contextmanager
def reachable(workspace: Workspace) -> Iterator[None]:
    """Says in words what the database's driver throws."""
    with _in_words(address(workspace)):
        yield


@contextmanager
def _in_words(url: str) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
        cause = error.__cause__ or error
        first = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        if _met_a_full_disk(first, url):
            database = make_url(url).database
            raise DiskFull(f"no space is left on the disk that holds {database}. {GOES_ON} there is room") from error
        where = f"{VARIABLE}={shown(url)}" if os.environ.get(VARIABLE) else shown(url)
        raise KdError(
            f"the database of the studies cannot be used ({where}): {first}. {GOES_ON} it can be reached again"
        ) from error


def _met_a_full_disk(said: str, url: str) -> bool:
    """Whether SQLite had no room: it says so, or has a "disk I/O error" on a disk that is full."""
    if not url.startswith("sqlite"):
        return False
    place = Path(make_url(url).database or "").parent
    return "full" in said or ("disk I/O" in said and files.is_full(place))


def names(storage: BaseStorage) -> list[str]:
    """Of all studies that this program made, the newest first."""
    return [study.study_name for study in reversed(storage.get_all_studies()) if PLAN in study.user_attrs]


def create(storage: BaseStorage, plan: StudyPlan) -> Study:
    """Makes the study, or opens it when there is an equal one.

    Raises:
        BadInput: there is one of that name with another experiment, space, goal, sampler or pruner.
    """
    try:
        study = optuna.create_study(storage=storage, study_name=plan.name, directions=plan.directions)
    except optuna.exceptions.DuplicatedStudyError:
        there = load_plan(storage, plan.name)
        ours, theirs = (_compared(each) for each in (plan, there))
        if ours["sampler_seed"] is None:
            ours["sampler_seed"] = theirs["sampler_seed"]  # not named: as it was made, before names decided 0
        differing = [key for key in ours if ours[key] != theirs[key]]
        if differing:
            message = f"there is a study {plan.name!r} already, with another {', '.join(differing)}; choose a new name"
            raise BadInput(Problem("name", message)) from None
        return open_study(storage, plan.name)
    study.set_user_attr(PLAN, plan.model_dump(mode="json", exclude={"budget"}))
    study.set_user_attr(BUDGET, plan.budget.model_dump(mode="json"))
    study.set_user_attr(PAIR, plan.pair)
    return study


def _compared(plan: StudyPlan) -> dict[str, Any]:
    """What makes a plan the plan that it is, with every setting of the experiment, those that came later too."""
    content = plan.model_dump(mode="json", exclude={"budget", "parallel"})
    return content | {"experiment": ExperimentSpec.from_mapping(plan.experiment).model_dump(mode="json")}


def open_study(storage: BaseStorage, name: str) -> Study:
    """A study that must exist; raises BadInput otherwise."""
    try:
        return optuna.load_study(storage=storage, study_name=name)
    except KeyError as error:
        known = ", ".join(names(storage)) or "none yet"
        raise BadInput(Problem("study", f"there is no study {name!r}; there are: {known}")) from error


def load_plan(storage: BaseStorage, name: str) -> StudyPlan:
    """The plan of a study with its present budget; raises BadInput when there is none, or it was made elsewhere."""
    return plan_of(open_study(storage, name))


def plan_of(study: Study) -> StudyPlan:
    """The plan of a study with its present budget; raises BadInput when it was not made here, or is damaged."""
    found = study.user_attrs
    if PLAN not in found:
        message = f"{study.study_name!r} was not made by this program: it has no plan"
        raise BadInput(Problem("study", message))
    try:
        return StudyPlan.model_validate(found[PLAN] | {"budget": found[BUDGET]})
    except (ValidationError, TypeError, KeyError) as error:
        message = f"the plan of {study.study_name!r} in the database of the studies is damaged: {error}"
        raise BadInput(Problem("study", message)) from error


def set_budget(study: Study, budget: Budget) -> None:
    """Extends or shortens it; the controller reads it at each turn."""
    study.set_user_attr(BUDGET, budget.model_dump(mode="json"))


def set_ending(study: Study, ending: bool) -> None:
    """Asks the controller to begin no further trial, or takes that back."""
    study.set_user_attr(ENDING, ending)


def set_note(study: Study, number: int, note: str) -> None:
    """What a person says of a trial; "" takes it away. It is the study's: Optuna changes no trial that has ended."""
    study.set_user_attr(f"{_NOTE}{number}", note)


def notes(study: Study) -> dict[int, str]:
    """Number of a trial -> what a person said of it."""
    found = {key.removeprefix(_NOTE): str(note) for key, note in study.user_attrs.items() if key.startswith(_NOTE)}
    return {int(number): note for number, note in found.items() if number.isdigit() and note}
