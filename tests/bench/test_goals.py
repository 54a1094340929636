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


def pair_on_a_cpu(changed: dict[str, float] | None = None) -> dict[str, Any]:
    ones = {goals.PLAIN: 1.0, goals.TORCHDISTILL: 1.05, goals.TIMM_COMPILED: 1.1, goals.ENGINE: 1.3, goals.AGAIN: 1.3,
            goals.COMPILED: 1.4, goals.CACHED: 3.0}  # fmt: skip
    arms = ones | (changed or {})
    return {"pair": f"{WIDE}, 32 px, batches of 64", "arms": [row(arm, value) for arm, value in arms.items()]}


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


@pytest.mark.parametrize(
    ("times", "verdict"), [(1, "pass"), (1.04, "pass"), (0.96, "pass"), (1.06, "short"), (0.94, "short")]
)
def test_the_control_must_read_one(times: float, verdict: str) -> None:
    assert found("cpu", pair_on_a_cpu({goals.AGAIN: 1.3 * times}))[f"{WIDE}: A/A"].verdict == verdict


def test_one_quicker_arm_of_another_package_is_enough_to_fall_short() -> None:
    key = f"{WIDE}: engine, compiled, over the best of all others"
    assert found("cpu", pair_on_a_cpu())[key].verdict == "pass"
    assert found("cpu", pair_on_a_cpu({goals.TIMM_COMPILED: 1.5}))[key][2:] == ("0.93", "short")
    # Not compiled it is ahead; what is asked is that it is compiled.
    assert found("cpu", pair_on_a_cpu({goals.TIMM_COMPILED: 1.5, goals.ENGINE: 1.6}))[key].verdict == "short"


@pytest.mark.parametrize("arm", goals.SWITCHED_OFF)
@pytest.mark.parametrize(("times", "verdict"), [(0.9, "pass"), (1.02, "pass"), (1.04, "short")])
def test_what_is_switched_off_must_not_be_missed(arm: str, times: float, verdict: str) -> None:
    key = f"{WIDE}: the fastest switched-off arm over the engine"
    others = dict.fromkeys(goals.SWITCHED_OFF, 1.0)
    goal = found("cpu", pair_on_a_cpu(others | {arm: 1.3 * times}))[key]
    assert goal[1:] == ("at most 1.03", f"{times:.2f} ({arm.removeprefix('engine, ')})", verdict)
    assert found("cpu", pair_on_a_cpu())[key][2:] == ("not measured", "")


def test_a_switch_is_judged_within_the_rounds() -> None:
    part = pair_on_a_cpu()
    part["arms"] = [row(goals.PLAIN, 1, 1, 1), row(goals.ENGINE, 1, 2, 3), row(goals.DIRECT, 1.1, 1.9, 3.3)]
    key = f"{WIDE}: the fastest switched-off arm over the engine"
    # Within rounds 1.1, 0.95, 1.1; the ratio of the medians would be 0.95.
    assert found("cpu", part)[key][2:] == ("1.10 (teacher multiplies directly)", "short")


def test_the_best_arm_in_bfloat16_counts_where_there_is_one() -> None:
    key = f"{WIDE}: bfloat16 over mdistiller's way, where the processor has it"
    assert found("cpu", pair_on_a_cpu())[key][2:] == ("not measured", "")
    assert found("cpu", pair_on_a_cpu({goals.BF16: 2.2, goals.BF16_COMPILED: 1.9}))[key][2:] == ("2.20", "pass")
    assert found("cpu", pair_on_a_cpu({goals.BF16_TEACHER_COMPILED: 1.9}))[key].verdict == "short"


@pytest.mark.parametrize(("pair", "verdict"), [(WIDE, "pass"), ("resnet34 -> mobilenetv3_small", "short")])
def test_cached_logits_must_gain_more_where_the_student_costs_less(pair: str, verdict: str) -> None:
    part = pair_on_a_cpu() | {"pair": f"{pair}, 32 px, batches of 64"}
    assert found("cpu", part)[f"{pair}: cached teacher logits over mdistiller's way"].verdict == verdict


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
    assert [told[what].verdict for what in told if what[:5] in ("image", "waits", "valid")] == [
        "pass",
        "stretch",
        "short",
    ]


def test_shares_are_those_of_arms_that_ask_their_teacher() -> None:
    arms = [row(goals.GRAPH, 2.0, roofline_share=0.41, mfu=0.2), row(goals.CACHED, 3.0, roofline_share=0.9, mfu=0.5),
            row(goals.ENGINE, 1.0, roofline_share=None, mfu=None)]  # fmt: skip
    told = found("gpu", {"pair": f"{WIDE}, 32 px, batches of 512", "arms": arms, "replay": {"live_over_replayed": 1.6}})
    assert told[f"{WIDE}, 512: share of the roofline"][2:] == ("41.0 %", "pass")
    assert told[f"{WIDE}, 512: share of peak"][2:] == ("20.0 %", "short")
    assert told[f"{WIDE}, 512: cached teacher logits over live"][2:] == ("1.60", "pass")


@pytest.mark.parametrize("suite", ["cpu", "gpu"])
def test_what_was_not_measured_is_said(suite: str) -> None:
    told = found(suite)
    assert told and {goal[2:] for goal in told.values()} == {("not measured", "")}
