"""A run takes its first step, and the dashboard shows its page, before anything is imported that neither needs.

What takes long is looked for by name, and no time is measured: seconds are for benchmarks/startup.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from support import PATIENCE_S, make_workspace

# In front of the command's words: how often an event of which kind is told before this tells what was imported.
TRAIN = """
import gc, json, os, sys
from kdengine.workspace.rundir import RunDirectory

tell, left = RunDirectory.append_event, int(sys.argv[1])

def tell_and_leave(run, event):
    global left
    tell(run, event)
    left -= event["kind"] == sys.argv[2]
    if not left:
        print(json.dumps({"modules": sorted(sys.modules), "collects": gc.isenabled()}), flush=True)
        os._exit(0)

RunDirectory.append_event = tell_and_leave
from kdengine.cli import main
sys.exit(main(sys.argv[3:]))
"""

PAGE = """
import gc, json, sys
from app.server import serve
from app.server.gate import Entrance
from app.worker import Workers
from kdengine.workspace import Workspace

TOKEN = "of-twenty-letters-and"
workspace = Workspace()
serve.prepare_process()
entrance = Entrance.of("secret", TOKEN, None)
web = serve.make_app(workspace, Workers.of(str(workspace.root)), "127.0.0.1", entrance)

from starlette.testclient import TestClient
with TestClient(web, base_url="http://127.0.0.1") as visitor:
    answer = visitor.get("/", headers={"Authorization": f"Bearer {TOKEN}"})
assert answer.status_code == 200 and "What do you want to distil?" in answer.text, answer.text
print(json.dumps({"modules": sorted(sys.modules), "collects": gc.isenabled()}), flush=True)
"""

COMPILER = ("torch._dynamo", "torch._inductor", "torch.fx.experimental.symbolic_shapes", "sympy", "triton")
TRACKING = ("mlflow", "sqlalchemy", "pandas")
OTHERS = ("scipy", "sklearn", "plotly", "optuna", "timm", "onnx", "networkx")
WORDS = "train --dataset digits --epochs 1 --set data.per_class=10 --set runtime.threads=1 --set runtime.log_every=1"


class Start(NamedTuple):
    """What is started, the words behind it, and what it must not have imported."""

    script: str
    words: str
    without: tuple[str, ...]


STARTS = {
    "an own network": Start(
        TRAIN,
        f"1 step {WORDS} --student resnet8x4 --method none",
        (*COMPILER, *TRACKING, *OTHERS, "gradio", "torchvision"),
    ),
    "AdamW and an average": Start(
        TRAIN,
        f"1 step {WORDS} --student resnet8x4 --method dlb --set recipe.optimizer=adamw --set recipe.ema=0.9",
        (*COMPILER, *TRACKING, *OTHERS, "gradio", "torchvision"),
    ),
    "a network of torchvision": Start(
        TRAIN, f"1 step {WORDS} --student mobilenetv3_small --method byot", (*COMPILER, *TRACKING, *OTHERS, "gradio")
    ),
    # To the end of both, with checkpoints and GRKD's own optimisers; MLflow hears of the teacher's meanwhile.
    "a student and its teacher": Start(
        TRAIN, f"2 end {WORDS} --teacher resnet8x4 --student resnet8x4 --method grkd", COMPILER
    ),
    "the page": Start(PAGE, "", (*COMPILER, *OTHERS, "mlflow", "sqlalchemy", "torchvision")),
}


@cache
def left_by(start: str, home: Path) -> dict[str, object]:
    """What a fresh process tells; each is started once for all modules that are looked for."""
    script, words, _ = STARTS[start]
    done = subprocess.run(
        [sys.executable, "-c", script, *words.split()],
        env=os.environ | {"KD_HOME": str(home)}, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, furnished: Path) -> Path:
    """A workspace like a used one, whose digits are decoded."""
    return make_workspace(tmp_path_factory.mktemp("starts") / "home", furnished).root


@pytest.mark.parametrize(
    ("start", "module"), [(start, module) for start, one in STARTS.items() for module in one.without]
)
def test_a_start_waits_for_no_import_that_it_does_not_need(start: str, module: str, home: Path) -> None:
    assert module not in left_by(start, home)["modules"]  # type: ignore[operator]


@pytest.mark.parametrize("start", STARTS)
def test_garbage_is_collected_again_after_the_imports(start: str, home: Path) -> None:
    assert left_by(start, home)["collects"]
