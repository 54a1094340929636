"""``kd bench``: how fast this machine trains, side by side with a plain loop, and how much of it is used."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from kdengine.commands.tables import show, show_json
from kdengine.errors import BadInput, Problem

PLAIN, CACHED = "plain loop", "engine, cached teacher logits"
WARM_UP = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd bench``."""
    parser.add_argument("--teacher", default="resnet56", metavar="NAME", help="default: resnet56")
    parser.add_argument("--student", default="resnet20", metavar="NAME", help="default: resnet20")
    parser.add_argument("--image-size", type=int, default=32, metavar="PX")
    parser.add_argument("--batch-size", type=int, default=64, metavar="B")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each arm; default: 5")
    parser.add_argument("--steps", type=int, default=2, help="timed steps in a turn; default: 2")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<n>")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU; default: as in training")
    parser.add_argument("--compile", action="store_true", help="also the compiled engine; takes a minute or two more")
    parser.add_argument(
        "--explain", action="store_true",
        help="only say what a run of this pair would choose on this machine, and why: the memory layout, the way each "
        "convolution of the teacher is computed, cached logits; with --compile also what compiling gains",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(options: argparse.Namespace) -> int:
    """Measures and prints."""
    _check(options)
    if options.explain:
        return _explain(options)
    import torch

    from kdengine.bench import ceilings, measure, report
    from kdengine.bench.engine import Switches, cached_arm, engine_arm
    from kdengine.bench.gates import gates
    from kdengine.bench.pair import Pair
    from kdengine.bench.reference import reference_arm
    from kdengine.spec import RuntimeSpec
    from kdengine.training.hardware import configure, pick_device

    device = pick_device(options.device)
    configure(RuntimeSpec(threads=options.threads), device)
    pair = Pair(options.teacher, options.student, options.image_size, options.batch_size, device=device)
    switches = {"engine": Switches()} | ({"engine, compiled": Switches(compile=True)} if options.compile else {})
    _report(f"{pair}, {device}, {torch.get_num_threads()} threads")
    for gate in gates(pair, switches):
        _report(str(gate))
    arms = [reference_arm(PLAIN, pair, workers=2), *(engine_arm(name, pair, each) for name, each in switches.items())]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stored = WARM_UP + options.rounds * options.steps
        arms.append(cached_arm(CACHED, pair, Switches(), Path(folder), stack, stored))
        measured = measure(
            arms, device=device, rounds=options.rounds, steps=options.steps, warm_up=WARM_UP, report=_report
        )
    for arm in arms:
        arm.close()
    found = report.rows(measured, PLAIN)
    limits = ceilings.ceilings(device)
    report.add_shares(found, measured, pair, limits, {CACHED})
    if options.json:
        show_json({"pair": str(pair), "device": str(device), "gflops": limits.flops / 1e9, "arms": found})
        return 0
    show((*report.HEAD, *report.SHARES), report.cells_with_shares(found))
    sys.stdout.write(
        f"Ratios to the plain loop within each round: median [range]. Measured ceilings: {limits.flops / 1e9:,.0f} "
        f"GFLOP/s, {limits.bytes / 1e9:,.1f} GB/s in float32; every convolution counts as multiplied directly.\n"
    )
    return 0


def _explain(options: argparse.Namespace) -> int:
    import torch

    from kdengine.bench import explained
    from kdengine.bench.pair import Pair
    from kdengine.machine.processor import processor
    from kdengine.spec import RuntimeSpec
    from kdengine.training.hardware import configure, pick_device
    from kdengine.workspace import Workspace

    device = pick_device(options.device)
    configure(RuntimeSpec(threads=options.threads), device)
    cache = Workspace().cache
    pair = Pair(options.teacher, options.student, options.image_size, options.batch_size, device=device, kept=cache)
    found = explained.explain(pair, cache)
    if options.compile:
        _report("compiling, which takes ten seconds to two minutes")
        found["compiling"] = explained.compiled(pair, options.rounds, options.steps)
    where = {"pair": str(pair), "processor": processor().name, "threads": torch.get_num_threads()}
    where |= {"torch": torch.__version__}
    if options.json:
        show_json(where | found)
        return 0
    sys.stdout.write(f"{pair}, on {where['processor']}, {where['threads']} threads, torch {where['torch']}\n\n")
    if device.type != "cpu":
        sys.stdout.write("On a GPU cuDNN chooses for itself (cudnn.benchmark), and the layout is channels_last.\n")
        return 0
    show(explained.HEAD, list(explained.rows(found)))
    lines = [explained.gain_line(found), explained.layout_line(found), explained.logits_line(found)]
    lines += [explained.compiled_line(found["compiling"])] if options.compile else []
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
    sys.stdout.write("Kept in the workspace's cache; a run keeps what it was started with in its choices.json.\n")
    return 0


def _check(options: argparse.Namespace) -> None:
    least = {"batch_size": 2, "image_size": 8, "rounds": 1, "steps": 1}
    problems = [
        Problem(f"--{name.replace('_', '-')}", f"found {getattr(options, name)}, expected at least {low}")
        for name, low in least.items()
        if getattr(options, name) < low
    ]
    if options.threads is not None and options.threads < 1:
        problems.append(Problem("--threads", f"found {options.threads}, expected at least 1"))
    if problems:
        raise BadInput(problems)


def _report(line: str) -> None:
    sys.stderr.write(f"{line}\n")
