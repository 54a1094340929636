"""The searches for the settings of a comparison's arms: one study an arm, read from the queue and the study's folder.

Beginning and steering them is the business of the package ``studies``; to look needs none of it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from kdengine.comparison.plan import Plan
from kdengine.jobs import JobStore
from kdengine.jobs.job import STUDY_PREFIX
from kdengine.workspace import Workspace
from kdengine.workspace.states import State

WAITING, FOUND = "waiting", "found"
LONGEST = 48
UNDER_WAY = (WAITING, State.QUEUED, State.STARTING, State.RUNNING, State.STOPPING)


@dataclass(frozen=True)
class ArmSearch:
    """The search of one arm as it stands.

    Attributes:
        arm: whose settings are searched.
        study: its name.
        state: "waiting" for its turn, "found", or the state of its job.
        trials: complete or pruned so far.
        most: of them; None where epochs are what ends it.
        message: why it failed or stopped.
    """

    arm: str
    study: str
    state: str
    trials: int = 0
    most: int | None = None
    message: str = ""

    @property
    def progress(self) -> str:
        """In words: 5 of 12 trials."""
        return f"{self.trials} of {self.most} trials" if self.most else f"{self.trials} trials"

    @property
    def under_way(self) -> bool:
        """Whether it goes on, or begins, by itself."""
        return self.state in UNDER_WAY


def study_name(comparison: str, arm: str) -> str:
    """Of the study that searches an arm: the same each time, so that no crash can begin it twice."""
    words = re.sub(r"[^a-z0-9._]+", "-", arm.lower()).strip("-._")
    name = f"{comparison}-{words}"
    if len(name) <= LONGEST and words == arm.lower():
        return name
    # Two arms may have the same words; what they are called in full tells them apart.
    mark = hashlib.sha256(f"{comparison}\n{arm}".encode()).hexdigest()[:6]
    return f"{name[: LONGEST - 7].rstrip('-._')}-{mark}"


def searches(plan: Plan, workspace: Workspace) -> tuple[ArmSearch, ...]:
    """The search of each arm that was asked for; () for a comparison that is not tuned."""
    if plan.tuning is None:
        return ()
    store = JobStore(workspace)
    return tuple(_search(plan, arm.name, store, workspace) for arm in plan.asked)


def _search(plan: Plan, arm: str, store: JobStore, workspace: Workspace) -> ArmSearch:
    name, most = study_name(plan.name, arm), plan.tuning.trials if plan.tuning else None
    tuned = plan.tuned(arm)
    if tuned is not None and tuned.search is not None:
        return ArmSearch(arm, name, FOUND, tuned.search.trials, most)
    job = store.find(f"{STUDY_PREFIX}{name}")
    if job is None:
        return ArmSearch(arm, name, WAITING, most=most)
    counts = workspace.run(job.id).status().get("trials") or {}
    trials = int(counts.get("complete", 0)) + int(counts.get("pruned", 0))
    # A study that has just ended hands its values over in the same breath; until then it is at work.
    state = State.RUNNING if job.state is State.FINISHED else job.state
    return ArmSearch(arm, name, str(state), trials, most, job.message or "")
