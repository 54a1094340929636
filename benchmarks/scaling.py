"""What a step costs as one thing grows: the batch, the side of the images, the data set, and what a method adds.

    python benchmarks/scaling.py                # about a quarter of an hour on two cores
    python benchmarks/scaling.py --rehearse     # a few sizes, to see that all is well

Everything is CPU time of the engine's own loop, arms in shuffled turns in one process (see kdengine/bench/rounds.py).
Writes results/scaling.json, .md and .html (the curves).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch

from kdengine.bench import Arm, Measured, Pair, measure, report
from kdengine.bench import pair as numbers
from kdengine.bench.engine import Switches, endless, engine_arm, loader, trainer
from kdengine.data import Augmentation
from kdengine.data.batches.loader import BatchLoader
from kdengine.forecast.operations import step_operations
from kdengine.methods import list_methods

RESULTS = Path(__file__).parent / "results"
CPU = torch.device("cpu")
BATCHES = (16, 32, 64, 128, 256, 512)
SIDES = (16, 32, 64, 128, 224)
IMAGES = (1024, 4096, 16384, 65536)
LIMIT_BYTES = 8 << 20
NEAR = 1.3
"""How far a method's measured cost over `none` may be from what its counted operations say."""


def median_us(measured: Measured, name: str) -> float:
    """Microseconds of CPU time an image."""
    return 1e6 * statistics.median(turn.cpu for turn in measured.turns[name])


def by_batch(rounds: int, sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """resnet20 taught by resnet56 at 32 px, and the relations of rkd and grkd, whose groups keep them in proportion."""
    pairs = {size: Pair("resnet56", "resnet20", batch_size=size, images=2048) for size in sizes}
    arms = [engine_arm(f"{method}/{size}", pair, Switches(), method)
            for size, pair in pairs.items() for method in ("none", "kd", "rkd", "grkd")]  # fmt: skip
    measured = measure(arms, device=CPU, rounds=rounds, steps=1, warm_up=1, report=print)
    return [{"batch": size} | {method: round(median_us(measured, f"{method}/{size}"), 1)
                               for method in ("none", "kd", "rkd", "grkd")} for size in sizes]  # fmt: skip


def by_side(rounds: int, sides: tuple[int, ...]) -> list[dict[str, Any]]:
    """mobilenetv3_small taught by resnet18, batches of 8; above 64 px both in the published form."""
    pairs = {side: Pair("resnet18", "mobilenetv3_small", side, batch_size=8, images=64) for side in sides}
    arms = [engine_arm(f"{method}/{side}", pair, Switches(), method)
            for side, pair in pairs.items() for method in ("none", "kd")]  # fmt: skip
    measured = measure(arms, device=CPU, rounds=rounds, steps=1, warm_up=1, report=print)
    return [{"side": side} | {method: round(median_us(measured, f"{method}/{side}"), 1) for method in ("none", "kd")}
            for side in sides]  # fmt: skip


def by_data(rounds: int, counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """The data path at 32 px: images held, and read batch by batch once they need more than a limit of 8 MB."""
    rows = []
    for count in counts:
        pair = Pair("resnet20", "resnet20", batch_size=128, images=count)
        arms, held = [], {}
        for name, limit in (("held", 1 << 40), ("read", LIMIT_BYTES)):
            batches = BatchLoader(
                pair.part, batch_size=128, mean=numbers.MEAN, std=numbers.STD, device=CPU, seed=0, shuffle=True,
                drop_last=True, augmentation=Augmentation(crop_padding=4, flip=True), resident_bytes=limit,
            )  # fmt: skip
            before = psutil.Process().memory_info().rss
            stream = endless(batches)
            next(stream)
            held[name] = (psutil.Process().memory_info().rss - before) >> 20
            arms.append(Arm(name, lambda stream=stream: next(stream), 128))  # type: ignore[misc]
            resident = batches.resident
        measured = measure(arms, device=CPU, rounds=rounds, steps=6, report=print)
        rows.append(
            {"images": count, "over the limit": not resident}
            | {f"{name} us": round(median_us(measured, name), 2) for name in held}
            | {f"{name} MB": held[name] for name in held}
        )
    return rows


def by_method(rounds: int) -> list[dict[str, Any]]:
    """Every method's step over that of `none`, measured and counted; resnet20 taught by resnet20, 16 px, batches of 32.

    light_self trains resnet20_light and is compared with `none` on it.
    """
    plain = Pair("resnet20", "resnet20", 16, batch_size=32, classes=10, images=512)
    light = replace(plain, student="resnet20_light")
    pairs = {name: light if name == "light_self" else plain for name in list_methods()}
    jobs = [(name, name, pair) for name, pair in pairs.items()] + [("none, light net", "none", light)]
    arms = [engine_arm(label, pair, Switches(), method) for label, method, pair in jobs]
    measured = measure(arms, device=CPU, rounds=rounds, steps=2, warm_up=2, report=print)
    counted = {label: operations(pair, method) for label, method, pair in jobs}
    rows = []
    for label, _, _ in jobs:
        base = "none, light net" if label in ("light_self", "none, light net") else "none"
        ratio = 1 / statistics.median(measured.ratios(label, base))
        expected = counted[label] / counted[base]
        rows.append({"method": label, "measured": round(ratio, 2), "counted": round(expected, 2),
                     "measured / counted": round(ratio / expected, 2)})  # fmt: skip
    return sorted(rows, key=lambda row: row["measured"])


def operations(pair: Pair, method: str) -> int:
    """Floating-point operations of a step."""
    batches = loader(pair, Switches(), method=method)
    loop = trainer(pair, Switches(), batches, method)
    loop.module.train()
    return step_operations(loop, next(batches.epoch(0)))


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as Markdown."""
    return report.markdown(tuple(rows[0]), [[str(value) for value in row.values()] for row in rows])


def write(result: dict[str, Any]) -> None:
    """Numbers, tables and curves."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scaling.json").write_text(json.dumps(result, indent=1) + "\n")
    far = [row["method"] for row in result["methods"] if not 1 / NEAR <= row["measured / counted"] <= NEAR]
    lines = [
        "# Cost as work grows", "",
        f"`{result['command']}`, one thread, torch {result['torch']}, {result['rounds']} rounds, load average "
        f"{result['load'][0]:.1f} to {result['load'][1]:.1f}. Microseconds of CPU time an image, medians.", "",
        "## The batch (resnet56 to resnet20, 32 px)", "", table(result["batch"]), "",
        "## The side (resnet18 to mobilenetv3_small, batches of 8)", "", table(result["side"]), "",
        "## The data set (data path alone; over the limit it is read batch by batch)", "", table(result["data"]), "",
        "## What a method adds to a step of `none` (resnet20, 16 px, batches of 32)", "", table(result["methods"]), "",
        f"Further than {NEAR} from what is counted: {', '.join(far) or 'none'}. Counted are convolutions and matrix "
        "products; what passes over maps without either (attention, masks, normalisation, resizing) is not.",
    ]  # fmt: skip
    (RESULTS / "scaling.md").write_text("\n".join(lines) + "\n")
    figure = make_subplots(1, 3, subplot_titles=("batch", "side, px", "images"))
    for column, (key, axis) in enumerate((("batch", "batch"), ("side", "side"), ("data", "images")), start=1):
        for name in [n for n in result[key][0] if n not in (axis, "over the limit") and not n.endswith("MB")]:
            places, values = [row[axis] for row in result[key]], [row[name] for row in result[key]]
            figure.add_trace(go.Scatter(x=places, y=values, name=f"{name} ({axis})", mode="lines+markers"), 1, column)
    figure.update_xaxes(type="log").update_yaxes(type="log", title_text="microseconds an image")
    figure.write_html(RESULTS / "scaling.html", include_plotlyjs="cdn")


def main() -> None:
    """Measures every axis and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounds, most = (2, 2) if options.rehearse else (options.rounds, 9)
    before = os.getloadavg()[0]
    result = {
        "command": "python benchmarks/scaling.py", "torch": torch.__version__, "rounds": rounds,
        "data": by_data(rounds, IMAGES[:most]), "methods": by_method(rounds),
        "batch": by_batch(rounds, BATCHES[:most]), "side": by_side(rounds, SIDES[:most]),
    }  # fmt: skip
    result["load"] = [before, os.getloadavg()[0]]
    if options.rehearse:
        print(json.dumps(result, indent=1))
    else:
        write(result)


if __name__ == "__main__":
    main()
