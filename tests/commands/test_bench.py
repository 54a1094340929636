"""``kd bench --explain`` tells what this machine chooses and why; the second time from the cache."""

from __future__ import annotations

import json

import pytest

from kdengine.cli import main
from kdengine.machine.processor import processor
from kdengine.workspace import Workspace

PAIR = ("--teacher", "resnet8x4", "--student", "resnet20", "--image-size", "32", "--batch-size", "16", "--threads", "1")


def test_what_is_chosen_and_why(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    home = ("--home", str(workspace.root))
    assert main([*home, "bench", "--explain", "--json", *PAIR]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["processor"] == processor().name and told["threads"] == 1
    wide = next(choice for choice in told["teacher"] if "128 to 128 channels, on 16x16" in choice["what"])
    assert wide["layers"] == ["body.layer2.0.conv2"] and len(wide["times"]) == 6
    for choice in told["teacher"]:
        times = choice["times"]
        assert choice["way"] == "direct" or times[choice["way"]] == min(times.values()) < 0.95 * times["direct"]
    assert 0 < told["cached_logits"]["read"] < told["cached_logits"]["asked"] and "compiling" not in told
    assert set(told["layout"]["times"]) == {"channels_last", "contiguous"}
    assert list((workspace.cache / "speed").glob(f"{processor().slug}-1-threads.json"))
    assert main([*home, "bench", "--explain", *PAIR]) == 0
    words = capsys.readouterr().out
    assert processor().name in words and "128 to 128 channels" in words and "choices.json" in words
    assert "Cached teacher logits are read" in words
    plain = next(choice for choice in told["teacher"] if choice["way"] == "direct")
    assert f"{1000 * plain['times']['direct']:.2f} ms" in words, "read, not measured again"
