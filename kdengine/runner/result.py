"""How a run ended, as a value and in a notebook."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        run_id: its id; ``path`` its folder.
        state: "finished", "stopped" or "failed".
        metrics: {"best": ..., "last": ...} on test, {"validation": ...} of the last epoch; shares are 0..1.
    """

    run_id: str
    state: State
    path: Path
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def test_accuracy(self) -> float | None:
        """Test accuracy of the weights best by validation, 0..1; None before the end."""
        found: float | None = self.metrics.get("best", {}).get("accuracy")
        return found

    def _repr_html_(self) -> str:
        """The table of a notebook: state, accuracies on test, folder."""
        shown = {"run": self.run_id, "state": str(self.state)}
        for key, name in (("best", "test, best by validation"), ("last", "test, last")):
            accuracy = self.metrics.get(key, {}).get("accuracy")
            shown |= {} if accuracy is None else {name: f"{100 * accuracy:.1f} %"}
        shown["folder"] = str(self.path)
        lines = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in shown.items())
        return f"<table>{''.join(lines)}</table>"

    def plot(self) -> Any:
        """A Plotly figure: validation accuracy over the epochs, beside that of the teacher where there is one."""
        from kdengine.figures import curves

        run = RunDirectory(self.path)
        return curves.accuracy(list(run.events("epoch")), label=self.run_id, teacher=run.teacher_validation())
