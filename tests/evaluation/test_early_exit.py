"""Early exit: the pieces of a cut network are the network, and an early exit costs what it says."""

from __future__ import annotations

import json

import pytest
import torch
from support import Distilled, TinyNet, bench, tiny_spec
from torch import nn

from kdengine.assembly import load_with_exits
from kdengine.cli import main
from kdengine.errors import BadInput, KdError
from kdengine.evaluation.cost import count, count_parameters, training_frame
from kdengine.evaluation.early_exit import EarlyExit, all_logits, cut, ensemble, evaluate_early
from kdengine.methods.base import Exit
from kdengine.models import Outputs, build_model
from kdengine.runner import run
from kdengine.workspace import Workspace


@pytest.mark.parametrize(
    ("name", "size"), [("resnet20", 16), ("resnet18", 16), ("mobilenetv3_small", 16), ("vgg11", 32)]
)
def test_the_pieces_of_a_net_are_the_net(name: str, size: int) -> None:
    torch.manual_seed(0)
    net = build_model(name, 5, size).eval()
    x = torch.randn(3, 3, size, size)
    with torch.no_grad():
        whole = net(x)
        state, maps = x, range(len(whole.stages) - 1)
        for stage, piece in zip(maps, cut(net, list(maps)), strict=False):
            state = piece(state)
            assert torch.equal(state, whole.stages[stage])
        assert torch.equal(cut(net, list(maps))[-1](state), whole.logits)


def frozen() -> tuple[TinyNet, list[Exit]]:
    trial = bench("byot")
    trial.student.eval()
    trial.method.eval()
    return trial.student, trial.method.exits()


def test_early_exits_are_those_of_the_exit_that_was_sure() -> None:
    net, exits = frozen()
    torch.manual_seed(1)
    x = 3 * torch.randn(40, 3, 16, 16)
    early = EarlyExit(net, exits)
    with torch.no_grad():
        logits_of = list(all_logits(net(x), exits).values())[:-1]
        sure = [logits.softmax(1).amax(1) for logits in logits_of]
    middle = sure[0].median().item()
    logits, used = early(x, middle)
    assert set(used.tolist()) >= {0}, "half the images exit at once"
    for image in range(len(x)):
        first = next((n for n in range(2) if sure[n][image] >= middle), 2)
        assert used[image] == first
        assert torch.allclose(logits[image], logits_of[first][image], atol=1e-5)


def test_sure_of_everything_or_of_nothing() -> None:
    net, exits = frozen()
    x = torch.randn(6, 3, 16, 16)
    early = EarlyExit(net, exits)
    assert early(x, 0.0)[1].tolist() == [0] * 6
    logits, used = early(x, 1.1)
    assert used.tolist() == [2] * 6
    with torch.no_grad():
        assert torch.allclose(logits, net(x).logits, atol=1e-6)


def test_costs_rise_to_that_of_the_whole_net() -> None:
    net, exits = frozen()
    costs = EarlyExit(net, exits).costs(repeats=1)
    assert [cost.name for cost in costs] == ["exit 1", "exit 2", "deployed"]
    whole = count(net)
    assert (costs[-1].macs, costs[-1].parameters) == (whole.macs, whole.parameters)
    # The stem: 3 x 3 x 3 x 6 weights and two for each of 6 channels in batch norm, plus the head.
    assert costs[0].parameters == 3 * 3 * 3 * 6 + 12 + sum(map(count_parameters, exits[0].parts))
    assert all(cost.milliseconds > 0 for cost in costs)


def test_training_frame_counts_what_is_dropped_before_shipping() -> None:
    trial = bench("byot")
    frame = training_frame(trial.student, trial.method)
    heads = sum(count_parameters(part) for exit_ in trial.method.exits() for part in exit_.parts)
    assert heads == count_parameters(trial.method)
    assert frame["parameters"] == count(trial.student).parameters + heads
    assert frame["macs"] > count(trial.student).macs


def test_mean_work_is_the_mix_of_the_exits() -> None:
    net, exits = frozen()
    early = EarlyExit(net, exits)
    costs = early.costs(repeats=1)
    batch = bench("byot").batch
    row = evaluate_early(early, costs, [batch], 0.0)
    assert row["macs"] == costs[0].macs and row["shares"]["exit 1"] == 1
    row = evaluate_early(early, costs, [batch], 2.0)
    assert row["macs"] == costs[-1].macs and row["shares"]["deployed"] == 1


def test_ensemble_by_hand() -> None:
    a, b = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 1e4]])
    assert torch.allclose(ensemble([a, b]).exp(), torch.tensor([[0.25, 0.75]]))


def test_a_net_that_skips_over_its_stages_is_refused_in_words() -> None:
    class Skipping(TinyNet):
        def forward(self, x: torch.Tensor) -> Outputs:
            outputs = super().forward(x)
            return outputs._replace(logits=outputs.logits + x.mean())

    with pytest.raises(KdError, match="does not follow from the one before alone"):
        cut(Skipping().eval(), [0])


def test_a_net_that_cannot_be_traced_is_refused_in_words() -> None:
    class Choosing(TinyNet):
        def forward(self, x: torch.Tensor) -> Outputs:
            return super().forward(x if x.sum() > 0 else -x)

    with pytest.raises(KdError, match="tiny cannot be cut at its stages"):
        cut(Choosing().eval(), [0])
    assert isinstance(Choosing(), nn.Module)


def test_kd_eval_tells_accuracy_and_cost_of_every_exit(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(tiny_spec(method="byot"), workspace=workspace)
    capsys.readouterr()

    assert main(["eval", result.run_id, "--exits", "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert list(numbers["exits"]) == ["exit 1", "exit 2", "deployed", "ensemble"]
    for name in ("exit 1", "exit 2", "ensemble"):
        assert numbers["exits"][name]["accuracy"] == pytest.approx(result.metrics[name]["accuracy"], abs=1e-6)
    assert numbers["exits"]["deployed"]["accuracy"] == pytest.approx(result.metrics["best"]["accuracy"], abs=1e-6)
    macs = [numbers["exits"][name]["macs"] for name in ("exit 1", "exit 2", "deployed")]
    assert macs == sorted(macs)
    assert [row["confidence"] for row in numbers["early"]] == [0.5, 0.7, 0.8, 0.9, 0.95, 0.99]

    assert main(["eval", result.run_id, "--exits"]) == 0
    told = capsys.readouterr().out
    assert "training frame" in told and "exits at confidence" in told
    assert main(["eval", result.run_id, "--exits", "--last"]) == 2
    assert "kept with the best weights only" in capsys.readouterr().err


def test_a_run_without_exits_says_so(distilled: Distilled) -> None:
    with pytest.raises(BadInput, match=r"\(kd\) has no exits beside the deployed one; self-distillation methods"):
        load_with_exits(distilled.workspace.run(distilled.first.run_id))
