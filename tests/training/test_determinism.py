"""Runs that ask for determinism: operations replaced by equal ones, and networks refused before they start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support import TinyNet, tiny_spec
from torch import Tensor
from torch.nn import functional as F

from kdengine import assembly
from kdengine.assembly import checks
from kdengine.errors import BadInput
from kdengine.jobs.executor import DETERMINISM
from kdengine.losses.at import averaged
from kdengine.models import Backbone, Outputs, build_model
from kdengine.models.blocks.blur_pool import mirrored
from kdengine.testing.fake_gpu import fake_gpu
from kdengine.training.determinism import check_deterministic
from kdengine.workspace import Workspace


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def gradient(result: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad((result * torch.arange(result.numel()).view_as(result)).sum(), x)[0]


@pytest.mark.parametrize(("sides", "size"), [((8, 8), (4, 4)), ((7, 5), (3, 2)), ((6, 9), (6, 4)), ((5, 5), (5, 5))])
def test_means_over_windows_are_those_of_adaptive_pooling(
    deterministic: None, sides: tuple[int, int], size: tuple[int, int]
) -> None:
    x = torch.randn(2, 3, *sides, generator=torch.Generator().manual_seed(0), requires_grad=True)
    expected = F.adaptive_avg_pool2d(x, size)
    found = averaged(x, size)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient(found, x), gradient(expected, x))


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 2), (0, 1), (3, 3)])
def test_a_mirrored_border_is_that_of_reflection_padding(deterministic: None, before: int, after: int) -> None:
    x = torch.randn(2, 3, 7, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    expected = F.pad(x, (before, after, before, after), mode="reflect")
    found = mirrored(x, before, after)
    assert torch.equal(found, expected)
    torch.testing.assert_close(gradient(found, x), gradient(expected, x))


class Enlarged(TinyNet):
    """Enlarges its first map, which CUDA cannot take back in a fixed order."""

    def forward(self, x: Tensor) -> Outputs:
        first = self.body["layers"][0](x)  # type: ignore[index]
        larger = F.interpolate(first, scale_factor=2.0, mode="bilinear")
        plain = super().forward(x)
        return plain._replace(logits=plain.logits + larger.mean())


@pytest.mark.parametrize("name", ["resnet20", "resnet20_cip", "resnet8x4_cip", "mobilenetv3_small", "vgg8"])
def test_networks_of_the_catalog_can_be_trained_deterministically(name: str) -> None:
    network: Backbone = build_model(name, 4, 32)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    check_deterministic(network)
    assert not torch.are_deterministic_algorithms_enabled() and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_another_is_refused_in_words(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "build_backbone", lambda model, classes, size: Enlarged(classes, size))
    with fake_gpu():
        assembly.preflight(tiny_spec(runtime={"device": "cuda"}), workspace)
        with pytest.raises(BadInput, match=r"runtime\.deterministic: tiny uses upsample_bilinear2d_backward, .*false"):
            assembly.preflight(tiny_spec(runtime={"device": "cuda", "deterministic": True}), workspace)
    assembly.preflight(tiny_spec(runtime={"deterministic": True}), workspace)  # a CPU has an order of its own


def test_a_job_is_started_with_what_cublas_needs_for_it() -> None:
    assert DETERMINISM["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8"), "the two that PyTorch accepts"
