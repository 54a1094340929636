"""What is wanted of the speed suites: every line is there, and its verdict follows from the numbers."""

from __future__ import annotations

from typing import Any

import pytest
from side_by_side import goals
from side_by_side.goals import Goal

WIDE = "resnet32x4 -> resnet8x4"


def row(arm: str, *ratios: float, **shares: float) -> dict[str, Any]:
    return {"arm": arm, "cpu_ratio": list(ratios), "wall_ratio": list(ratios)} | shares


def found(suite: str, *parts: dict[str, Any]) -> dict[str, Goal]:
    return {goal.what: goal for goal in goals.goals(suite, list(parts))}


def pair_on_a_cpu(engine: float = 1.3, again: float = 1.3, timm: float = 1.1) -> dict[str, Any]:
    ones = {goals.PLAIN: 1.0, goals.TORCHDISTILL: 1.05, goals.TIMM_COMPILED: timm, goals.ENGINE: engine}
    more = {goals.AGAIN: again, goals.COMPILED: 1.4, goals.REPLAYED: 3.0}
    return {"pair": f"{WIDE}, 32 px, batches of 64", "arms": [row(arm, value) for arm, value in (ones | more).items()]}


def test_a_goal_is_met_or_short_by_the_median_of_the_ratios_within_rounds() -> None:
    part = pair_on_a_cpu()
    part["arms"] = [
        row(goals.PLAIN, 1, 1, 1),
        row(goals.ENGINE, 1.0, 3.0, 1.25),
        row(goals.TORCHDISTILL, 1.0, 1.0, 2.0),
    ]
    told = found("cpu", part)
    assert told[f"{WIDE}: engine over mdistiller's way"] == (
        f"{WIDE}: engine over mdistiller's way", "at least 1.2", "1.25", "pass",
    )  # fmt: skip
    # Within rounds 1.0, 3.0, 0.625; the ratio of the medians would be 1.25.
    assert told[f"{WIDE}: engine over torchdistill"][2:] == ("1.00", "short")


@pytest.mark.parametrize(("again", "verdict"), [(1.3, "pass"), (1.3 * 1.12, "short"), (1.3 * 0.88, "short")])
def test_the_control_must_read_one(again: float, verdict: str) -> None:
    assert found("cpu", pair_on_a_cpu(again=again))[f"{WIDE}: A/A"].verdict == verdict


def test_one_quicker_arm_of_another_package_is_enough_to_fall_short() -> None:
    key = f"{WIDE}: engine, compiled over the best of all others"
    assert found("cpu", pair_on_a_cpu())[key].verdict == "pass"
    assert found("cpu", pair_on_a_cpu(timm=1.5))[key][2:] == ("0.93", "short")


def test_on_a_gpu_there_are_two_marks_and_the_best_arm_counts() -> None:
    arms = [row(goals.PLAIN, 1.0), row(goals.TUNED, 2.0), row(goals.TIMM_COMPILED, 9.5), row(goals.ENGINE, 4.0),
            row(goals.BF16_COMPILED, 5.0), row(goals.GRAPH, 10.0)]  # fmt: skip
    told = found("gpu", {"pair": f"{WIDE}, 32 px, batches of 64", "arms": arms})
    assert told[f"{WIDE}, 64: over mdistiller's way"][1:] == ("at least 8, better 15", "10.00", "pass")
    assert told[f"{WIDE}, 64: over it tuned"].verdict == "stretch"
    assert told[f"{WIDE}, 64: over timm compiled"].verdict == "short"
    assert told[f"{WIDE}, 64: graph over none"][2:] == ("2.00", "pass")
    epoch = {"pair": "an epoch: x", "arms": [], "epoch": {"gather_percent": 2.0, "waits": 0, "end_percent": 12.0}}
    told = found("gpu", epoch)
    assert [told[what].verdict for what in told if what[:5] in ("pictu", "waits", "valid")] == [
        "pass",
        "stretch",
        "short",
    ]


def test_shares_are_those_of_arms_that_ask_their_teacher() -> None:
    arms = [row(goals.GRAPH, 2.0, roofline_share=0.41, mfu=0.2), row(goals.REPLAYED, 3.0, roofline_share=0.9, mfu=0.5),
            row(goals.ENGINE, 1.0, roofline_share=None, mfu=None)]  # fmt: skip
    told = found("gpu", {"pair": f"{WIDE}, 32 px, batches of 512", "arms": arms, "replay": {"live_over_replayed": 1.6}})
    assert told[f"{WIDE}, 512: share of the roofline"][2:] == ("41.0 %", "pass")
    assert told[f"{WIDE}, 512: share of peak"][2:] == ("20.0 %", "short")
    assert told[f"{WIDE}, 512: replayed over live"][2:] == ("1.60", "pass")


@pytest.mark.parametrize("suite", ["cpu", "gpu"])
def test_what_was_not_measured_is_said(suite: str) -> None:
    told = found(suite)
    assert told and {goal[2:] for goal in told.values()} == {("not measured", "")}
