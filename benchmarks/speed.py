"""Speed side by side: this engine, the loop that papers are built on, torchdistill's box and timm's task.

    pip install torchdistill
    python benchmarks/speed.py --suite cpu            # three pairs, 7 rounds; an hour on two cores
    python benchmarks/speed.py --suite gpu            # the pairs and batch sizes of the GPU table
    python benchmarks/speed.py --suite cpu --rehearse # small nets, two rounds, to see that all is well

All arms run in one process with the same initial weights, pictures, batch size, loss (0.1 CE + 0.9 KL x T², T = 4) and
optimiser (SGD 0.05, momentum 0.9, decay 5e-4), in shuffled order in every round; ratios are formed within a round.
A turn begins with a step that is not timed: it fills the caches that the arm before it has used. Before any timing, the
engine's arms must give the same pictures, answers and losses as the plain loop. Batch and step are both inside the
clock; CPU time counts the arm's loader processes. Writes results/speed_<suite>.json and .md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdengine.bench import Arm, Measured, Pair, measure, report
from kdengine.bench import pair as numbers
from kdengine.bench.ceilings import Ceilings, ceilings
from kdengine.bench.engine import Switches, endless, engine_arm, gather_arm, loader, replay_arm
from kdengine.bench.gates import Gate, gates
from kdengine.bench.reference import PilPictures, pil_arm, reference_arm, step_only_arm
from kdengine.bench.rounds import SETTLING
from kdengine.models import Backbone
from kdengine.training.hardware import has_fast_bf16, slower_in_bf16

RESULTS = Path(__file__).parent / "results"
PLAIN = "mdistiller-style, 2 workers"
PIL = "PIL, one by one"
AGAIN = "engine once more (A/A)"
REPLAYED, FILLING = "engine, replayed", "engine, filling"
WARM_UP = 3


class Logits(nn.Module):
    """A catalog net that gives its logits alone, as other packages expect."""

    # timm's task asks for these; the teacher is given the same, so that it does not normalise again.
    pretrained_cfg = {"mean": numbers.MEAN, "std": numbers.STD}  # noqa: RUF012

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_classes = classes
        self.in_chans = 3

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x).logits  # type: ignore[no-any-return]


def torchdistill_arm(pair: Pair, workers: int) -> Arm:
    """torchdistill's own DistillationBox with its own loader configuration, its teacher put into eval mode."""
    from torchdistill.core.distillation import DistillationBox

    loss = {
        "key": "KDLoss",
        "kwargs": {
            "student_module_path": ".", "student_module_io": "output", "teacher_module_path": ".",
            "teacher_module_io": "output", "temperature": numbers.TEMPERATURE, "alpha": numbers.CE_WEIGHT,
            "reduction": "batchmean",
        },
    }  # fmt: skip
    config = {
        "num_epochs": 1,
        "train_data_loader": {
            "dataset_id": "pictures",
            "sampler": {"class_or_func": torch.utils.data.RandomSampler},
            "kwargs": {"batch_size": pair.batch_size, "num_workers": workers, "drop_last": True,
                       "persistent_workers": workers > 0, "pin_memory": pair.device.type == "cuda"},
        },
        "teacher": {"requires_grad": False, "forward_proc": "forward_batch_only"},
        "student": {"forward_proc": "forward_batch_only"},
        "optimizer": {"key": "SGD", "kwargs": {"lr": numbers.RATE, "momentum": numbers.MOMENTUM,
                                               "weight_decay": numbers.DECAY}},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": loss, "weight": 1.0}}}},
    }  # fmt: skip
    nets = (Logits(net, pair.classes).to(pair.device) for net in (pair.new_teacher(), pair.new_student()))
    box = DistillationBox(*nets, {"pictures": PilPictures(pair.part)}, config, pair.device, None, False, 1.0)
    box.teacher_model.eval()
    box.student_model.train()
    kept: list[Any] = []

    def batches() -> Iterator[Any]:
        while True:
            kept[:] = [iter(box.train_data_loader)]
            yield from kept[0]

    stream = batches()

    def step() -> None:
        # As torchdistill's own training script does.
        pictures, target, extra = next(stream)
        pictures, target = pictures.to(pair.device), target.to(pair.device)
        value = box.forward_process(pictures, target, extra)
        box.post_forward_process(loss=value)
        assert not torch.isnan(value) and not torch.isinf(value)
        value.item()

    return Arm(
        "torchdistill", step, pair.batch_size, take=lambda: next(stream), ahead=2 * workers,
        workers=lambda: [worker.pid for worker in getattr(kept[0], "_workers", [])] if kept else [],
        close=lambda: kept[0]._shutdown_workers() if kept and workers else None,
    )  # fmt: skip


def timm_arm(name: str, pair: Pair, compile: bool) -> Arm:
    """timm's LogitDistillationTask; its pictures come from our gather, so that its step alone is compared."""
    from timm.task import LogitDistillationTask

    student = Logits(pair.new_student(), pair.classes).to(pair.device)
    teacher = Logits(pair.new_teacher(), pair.classes).to(pair.device)
    task = LogitDistillationTask(
        student, teacher, criterion=nn.CrossEntropyLoss(), temperature=numbers.TEMPERATURE,
        task_loss_weight=numbers.CE_WEIGHT, distill_loss_weight=numbers.KD_WEIGHT, device=pair.device, verbose=False,
    )  # fmt: skip
    task.train()
    optimizer = torch.optim.SGD(
        student.parameters(), lr=numbers.RATE, momentum=numbers.MOMENTUM, weight_decay=numbers.DECAY
    )
    if compile:
        task.compile()
    stream = endless(loader(pair, Switches(channels_last=False)))

    def step() -> None:
        batch = next(stream)
        optimizer.zero_grad()
        result = task(batch.image, batch.target)
        result["loss"].backward()
        optimizer.step()

    return Arm(name, step, pair.batch_size)


def pair_arms(pair: Pair, compile: bool) -> tuple[list[Arm], dict[str, Switches]]:
    """All arms that distil, and the engine's switches by name."""
    cores = len(os.sched_getaffinity(0))
    switches = {
        "engine": Switches(),
        AGAIN: Switches(),
        "engine, contiguous layout": Switches(channels_last=False),
        "engine, teacher not folded": Switches(fold=False),
    }
    if pair.device.type == "cpu":
        switches["engine, teacher multiplies directly"] = Switches(winograd=False)
    if compile:
        switches["engine, compiled"] = Switches(compile=True)
    if pair.device.type == "cpu" and has_fast_bf16(pair.device):
        alone = slower_in_bf16(pair.new_student(), pair.device)
        kind, name = ("bf16_teacher", "engine, teacher in bf16") if alone else ("bf16", "engine, bf16")
        switches[name] = Switches(**{kind: True})
        if compile:
            switches[f"{name}, compiled"] = Switches(compile=True, **{kind: True})
    if pair.device.type == "cuda":
        switches |= {
            "engine, graph": Switches(graph=True),
            "engine, bf16": Switches(bf16=True),
            "engine, bf16, compiled": Switches(bf16=True, compile=True),
            "engine, bf16, compiled, graph": Switches(bf16=True, compile=True, graph=True),
        }
    arms = [
        reference_arm(PLAIN, pair, workers=2),
        reference_arm(f"the same tuned, {cores} workers", pair, workers=cores, tuned=True),
        step_only_arm("the same, step only", pair),
        torchdistill_arm(pair, workers=2),
        timm_arm("timm's task, our pictures", pair, compile=False),
        *([timm_arm("timm's task compiled, our pictures", pair, compile=True)] if compile else []),
        *(engine_arm(name, pair, each) for name, each in switches.items()),
    ]
    return arms, switches


def time_pair(pair: Pair, rounds: int, steps: int, compile: bool, limits: Ceilings) -> dict[str, Any]:
    """Gates, then all arms of one pair in turns; replay among them."""
    arms, switches = pair_arms(pair, compile)
    passed = [check(gate) for gate in gates(pair, {name: each for name, each in switches.items() if name != AGAIN})]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        # Replay of the compiled engine where there is one: each is compared with its own kind.
        kind = Switches(compile=compile)
        arms.append(replay_arm(REPLAYED, pair, kind, Path(folder), stack, WARM_UP + rounds * (steps + SETTLING)))
        arms.append(replay_arm(FILLING, pair, kind, Path(folder), stack))
        measured = measure(arms, device=pair.device, rounds=rounds, steps=steps, warm_up=WARM_UP, told=print)
    for arm in arms:
        arm.close()
    found = report.rows(measured, PLAIN)
    # A CPU's ceilings are measured in float32.
    reduced = {name for name, each in switches.items() if each.bf16 or each.bf16_teacher}
    report.add_shares(found, measured, pair, limits, {REPLAYED}, reduced if pair.device.type == "cpu" else ())
    return {"pair": str(pair), "gates": passed, "arms": found, "replay": break_even(measured, compile)}


def break_even(measured: Measured, compile: bool) -> dict[str, Any]:
    """What filling costs beside a live run, and after how many runs replay has paid for it, in CPU time."""
    live, filling, replayed = (
        statistics.median(turn.cpu for turn in measured.turns[name])
        for name in ("engine, compiled" if compile else "engine", FILLING, REPLAYED)
    )
    gain = live - replayed
    return {
        "filling_over_live": round(filling / live, 3),
        "live_over_replayed": round(live / replayed, 2),
        "runs_to_break_even": round((filling - replayed) / gain, 2) if gain > 0 else None,
    }


def time_data(rounds: int, compile: bool) -> dict[str, Any]:
    """The data path alone: 32 px, crop with a margin of 4, mirrored, normalised, batches of 128."""
    pair = Pair("resnet8x4", "resnet8x4", batch_size=128)
    arms = [
        pil_arm(PIL, pair, 0),
        pil_arm(f"{PIL}, 2 workers", pair, 2),
        gather_arm("gather", pair, compile=False),
        gather_arm("gather (A/A)", pair, compile=False),
        *([gather_arm("gather, compiled", pair, compile=True)] if compile else []),
    ]
    measured = measure(arms, device=pair.device, rounds=rounds, steps=8, told=print)
    for arm in arms:
        arm.close()
    return {"pair": "the data path alone, 32 px, batches of 128", "arms": report.rows(measured, PIL)}


def check(gate: Gate) -> dict[str, Any]:
    """Prints a gate; ends everything when it is shut."""
    print(gate)
    if not gate.passed:
        raise SystemExit(f"the arms do not do the same: {gate}")
    return gate._asdict()


def write(suite: str, parts: list[dict[str, Any]]) -> None:
    """JSON with every number, and the tables."""
    RESULTS.mkdir(exist_ok=True)
    results_of(suite).write_text(json.dumps({"parts": parts}, indent=1) + "\n")
    lines = [
        f"# Speed side by side ({suite})",
        "",
        "Ratios are how many times as fast as the first arm, within each round: median [lowest-highest]. Where other "
        "programs were at work, CPU time is the clock to trust. Shares of roofline and peak count every convolution as "
        "multiplied directly; a teacher that takes fewer products can pass 100 %.",
        "",
    ]
    for part in parts:
        lines += [f"## {part['pair']}", "", measured_on(part["measured"]), ""]
        cells = report.cells(part["arms"])
        # Only our teacher takes fewer products than are counted.
        others = [row.get("roofline_share") or 0 for row in part["arms"] if not row["arm"].startswith("engine")]
        if "replay" in part and max(others) > 1:
            lines += [
                report.markdown(report.HEAD, cells), "", replay_line(part["replay"]), "",
                "No shares of the roofline: other programs slowed the ceilings more than the arms.", "",
            ]  # fmt: skip
        elif "replay" in part:
            cells = report.cells_with_shares(part["arms"])
            lines += [report.markdown((*report.HEAD, *report.SHARES), cells), "", replay_line(part["replay"]), ""]
        else:
            lines += [report.markdown(report.HEAD, cells), ""]
    results_of(suite).with_suffix(".md").write_text("\n".join(lines).rstrip() + "\n")


def measured_on(measured: dict[str, Any]) -> str:
    """The command, machine and ceilings of a part, in a sentence; parts may stem from different runs."""
    return (
        f"`{measured['command']}` on {measured['machine']}, {measured['threads']} threads, torch {measured['torch']}; "
        f"load average {measured['load'][0]:.1f} before and {measured['load'][1]:.1f} after. Ceilings measured in the "
        f"same run: {measured['gflops']:,.0f} GFLOP/s, {measured['gbytes']:,.1f} GB/s."
    )


def results_of(suite: str) -> Path:
    """The file of a suite's numbers."""
    return RESULTS / f"speed_{suite}.json"


def earlier_parts(suite: str) -> list[dict[str, Any]]:
    """What the last run of a suite has written."""
    return json.loads(results_of(suite).read_text())["parts"]  # type: ignore[no-any-return]


def replay_line(replay: dict[str, Any]) -> str:
    """What replay gains and costs, in a sentence."""
    return (
        f"Replay: a step that reads the teacher's answers is {replay['live_over_replayed']} times as fast as one that "
        f"asks it, a step that stores them costs {replay['filling_over_live']} of one; paid for after "
        f"{replay['runs_to_break_even']} runs."
    )


def machine(threads: int) -> dict[str, Any]:
    """What it ran on."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu
    return {"machine": name, "threads": threads, "torch": torch.__version__}


def suites(device: torch.device, rehearse: bool) -> dict[str, list[Pair]]:
    """The pairs of each suite."""
    if rehearse:
        return {name: [Pair("resnet20", "resnet8x4", 16, 16, device=device)] for name in ("cpu", "gpu")}
    pairs = (("resnet32x4", "resnet8x4"), ("resnet34", "mobilenetv3_small"))
    # As published it halves the picture five times, eight times less work than the form for small pictures.
    published = ("resnet34", "torchvision/mobilenet_v3_small")
    return {
        "cpu": [Pair(*names, device=device) for names in (*pairs, published)],
        "gpu": [
            Pair(*names, batch_size=batch, pictures=8192, device=device)
            for names, batch in itertools.product((*pairs, ("resnet34", "resnet18")), (64, 512))
        ],
    }


def main() -> None:
    """Times a suite and writes its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=("cpu", "gpu"), required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, help="timed steps in a turn; default: 2 on a CPU, 50 on a GPU")
    parser.add_argument("--pair", default="", help="only the parts whose name holds this; the numbers of others stay")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-compile", action="store_true", help="leave out what takes minutes to compile")
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--table", action="store_true", help="write the table anew from the numbers there are")
    options = parser.parse_args()
    if options.table:
        write(options.suite, earlier_parts(options.suite))
        return
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if options.suite == "gpu" and not options.rehearse else "cpu")
    steps = options.steps or (50 if device.type == "cuda" else 2)
    rounds = 2 if options.rehearse else options.rounds
    compile = not (options.no_compile or options.rehearse)
    before = os.getloadavg()[0]
    limits = ceilings(device)
    only = f" --pair {options.pair}" if options.pair else ""
    run = {
        "command": f"python benchmarks/speed.py --suite {options.suite} --rounds {rounds} --steps {steps}{only}",
        **machine(options.threads), "gflops": limits.flops / 1e9, "gbytes": limits.bytes / 1e9,
    }  # fmt: skip
    parts = {part["pair"]: part for part in earlier_parts(options.suite)} if only else {}
    timings = [] if only else [partial(time_data, rounds, compile)]
    for pair in suites(device, options.rehearse)[options.suite]:
        if options.pair in str(pair):
            timings.append(partial(time_pair, pair, rounds, steps, compile, limits))
    for timing in timings:
        part = timing() | {"measured": run | {"load": [before, os.getloadavg()[0]]}}
        parts[part["pair"]] = part
        if not options.rehearse:
            write(options.suite, list(parts.values()))
    for part in parts.values():
        print(part["pair"], *(" | ".join(line) for line in report.cells(part["arms"])), sep="\n")


if __name__ == "__main__":
    main()
