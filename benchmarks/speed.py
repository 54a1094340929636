"""Speed side by side: this engine, the loop that papers are built on, torchdistill's box and timm's task.

    pip install torchdistill
    python benchmarks/speed.py --suite cpu             # three pairs, 7 rounds; an hour and a half on two cores
    python benchmarks/speed.py --suite cpu --resume    # after a run that was cut off: what is left of it
    python benchmarks/speed.py --suite gpu --minutes 5 # begins no part after that; again: what is left
    python benchmarks/speed.py --suite cpu --rehearse  # small nets, two rounds, to see that all is well
    python benchmarks/speed.py --summary               # every table anew from the numbers, and docs/results/speed.md's

All arms run in one process with the same initial weights, images, batch size, loss (0.1 CE + 0.9 KL x T², T = 4) and
optimiser (SGD 0.05, momentum 0.9, decay 5e-4), in shuffled order in every round; ratios are formed within a round.
A turn begins with a step that is not timed: it fills the caches that the arm before it has used. Before any timing, the
engine's arms must give the same images, logits and losses as the plain loop. Batch and step are both inside the
clock; CPU time counts the arm's loader processes.

Writes results/speed_<suite>/<processor or GPU>.json and .md after each part, never those of another machine;
results/speed_<suite>.md compares the machines: for each arm the worst and the best, and the goals on each.
"""

from __future__ import annotations

import argparse
import itertools
import shlex
from collections.abc import Callable
from functools import partial

import torch
from side_by_side import machine, results, summary
from side_by_side.epoch import time_epoch
from side_by_side.goals import BF16_COMPILED, ENGINE, GRAPH, Part
from side_by_side.suite import measure_parts
from side_by_side.timing import DATA_PATH, time_alone, time_data, time_pair

from kdengine.bench import Pair, report
from kdengine.bench.ceilings import Ceilings, ceilings
from kdengine.bench.engine import Switches


def pairs_of(suite: str, device: torch.device, rehearse: bool) -> list[Pair]:
    """Teacher, student and batch of each pair."""
    if rehearse:
        return [Pair("resnet20", "resnet8x4", 16, 16, device=device)]
    pairs = (("resnet32x4", "resnet8x4"), ("resnet34", "mobilenetv3_small"))
    if suite == "cpu":
        # As published it halves the image five times, eight times less work than the form for small images.
        published = ("resnet34", "torchvision/mobilenet_v3_small")
        return [Pair(*names, device=device) for names in (*pairs, published)]
    both = itertools.product((*pairs, ("resnet34", "resnet18")), (64, 512))
    return [Pair(*names, batch_size=batch, images=8192, device=device) for names, batch in both]


def timings(
    suite: str, device: torch.device, rehearse: bool, rounds: int, steps: int, compile: bool, limits: Ceilings
) -> dict[str, Callable[[], Part]]:
    """Everything a suite measures, by the name of its part."""
    planned: dict[str, Callable[[], Part]] = {DATA_PATH: partial(time_data, rounds, compile, device)}
    for pair in pairs_of(suite, device, rehearse):
        planned[str(pair)] = partial(time_pair, pair, rounds, steps, compile, limits)
    if suite == "gpu":
        best = Switches(bf16=device.type == "cuda", compile=compile)
        recorded = Switches(bf16=device.type == "cuda", compile=compile, graph=True)
        size = {"image_size": 16, "batch_size": 16} if rehearse else {"batch_size": 512}
        alone = Pair(*(["resnet20" if rehearse else "resnet34"] * 2), **size, images=8192, device=device)
        switches = {ENGINE: Switches(), BF16_COMPILED: best, GRAPH: recorded}
        planned[f"{alone.student} alone"] = partial(time_alone, alone, rounds, steps, switches, limits)
        names = ("resnet20", "resnet8x4") if rehearse else ("resnet32x4", "resnet8x4")
        whole = Pair(*names, **size, images=256 if rehearse else 50_000, device=device)
        planned["an epoch"] = partial(time_epoch, whole, rounds, steps, recorded)
    return planned


def command_of(options: argparse.Namespace, rounds: int, steps: int) -> str:
    """The command that measures a part again."""
    words = ["python", "benchmarks/speed.py", "--suite", options.suite, "--rounds", str(rounds), "--steps", str(steps)]
    words += ["--pair", options.pair] if options.pair else []
    words += ["--threads", str(options.threads)] if options.threads != 1 else []
    words += ["--no-compile"] if options.no_compile else []
    return shlex.join(words)


def measure_suite(options: argparse.Namespace) -> None:
    """Measures what is asked for, and writes it part by part; a rehearsal writes nothing."""
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if options.suite == "gpu" and not options.rehearse else "cpu")
    steps = options.steps or (50 if device.type == "cuda" else 2)
    rounds = 2 if options.rehearse else options.rounds
    compile = not (options.no_compile or options.rehearse)
    # On a GPU in the precision that its best arms compute in.
    limits = ceilings(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    run = {
        "command": command_of(options, rounds, steps), **machine.describe(device, options.threads),
        "rounds": rounds, "steps": steps, "compile": compile,
        "gflops": limits.flops / 1e9, "kernel": limits.kernel, "gbytes": limits.bytes / 1e9,
    }  # fmt: skip

    def keep(parts: list[Part]) -> None:
        if not options.rehearse:
            results.write(options.suite, run["processor"], parts)
            summary.write(options.suite)

    parts = measure_parts(
        timings(options.suite, device, options.rehearse, rounds, steps, compile, limits),
        [] if options.rehearse else results.earlier_parts(options.suite, run["processor"]),
        run, keep, only=options.pair, resume=options.resume or options.minutes is not None, minutes=options.minutes,
    )  # fmt: skip
    for part in parts:
        print(part["pair"], *(" | ".join(line) for line in report.cells(part["arms"])), sep="\n")


def main() -> None:
    """Times a suite and writes its results, or the tables of all that was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=summary.SUITES)
    parser.add_argument(
        "--summary", "--table", action="store_true", help="write every table anew from the numbers there are"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, help="timed steps in a turn; default: 2 on a CPU, 50 on a GPU")
    parser.add_argument("--pair", default="", help="only the parts whose name holds this; the numbers of others stay")
    parser.add_argument(
        "--resume", action="store_true", help="leave out what this machine's file has from the same code and settings"
    )
    parser.add_argument("--minutes", type=float, help="begin no part after these; leaves out what --resume does")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-compile", action="store_true", help="leave out what takes minutes to compile")
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    if options.summary:
        for suite in summary.SUITES:
            summary.write_tables(suite)
            summary.write(suite)
    elif options.suite:
        measure_suite(options)
    else:
        parser.error("found neither --suite nor --summary, expected one of them")


if __name__ == "__main__":
    main()
