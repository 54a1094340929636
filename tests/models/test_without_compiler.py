"""torchvision is imported without the compiler, which answers it all the same."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support import PATIENCE_S

DEFERRED = """
import sys
import kdengine.models, torchvision
assert "torch._dynamo" not in sys.modules and "torch._dynamo.utils" not in sys.modules
said = torchvision.ops.roi_align.__globals__["is_compile_supported"]("cpu")
import torch._dynamo.utils
assert said == torch._dynamo.utils.is_compile_supported("cpu")
assert torch._dynamo.utils.__file__
"""
# Whoever compiles has it already, and torchvision takes its own function.
THERE = """
import kdengine.models, torch._dynamo, torchvision
assert torchvision.ops.roi_align.__globals__["is_compile_supported"] is torch._dynamo.utils.is_compile_supported
"""
# What no torchvision of today asks: any other name is the compiler's own.
ANOTHER_NAME = """
import sys
from kdengine.models import without_compiler
sys.modules[without_compiler.COMPILER] = without_compiler._Later(without_compiler.COMPILER)
from torch._dynamo.utils import same
assert same is sys.modules["torch._dynamo.utils"].same and sys.modules["torch._dynamo.utils"].__file__
"""
COMPILED = """
import torch, torchvision
from kdengine.models import build_model
net = build_model("mobilenetv3_small", 5, 32).eval()
images = torch.randn(2, 3, 32, 32)
with torch.no_grad():
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    assert torch.equal(compiled(images).logits, net(images).logits)
"""


@pytest.mark.parametrize("script", [DEFERRED, THERE, ANOTHER_NAME, COMPILED], ids=["deferred", "there", "name", "run"])
def test_torchvision_is_imported_without_the_compiler(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
