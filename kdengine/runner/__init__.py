"""Runs a spec from beginning to end in this process, from its last checkpoint where there is one."""

from kdengine.runner.begin import run
from kdengine.runner.execution import check_data, create, execute
from kdengine.runner.result import RunResult

__all__ = ["RunResult", "check_data", "create", "execute", "run"]
