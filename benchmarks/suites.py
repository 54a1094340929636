"""The arms of `accuracy.py`: what is compared with what, under one recipe each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

DATASETS = ("cifar10", "tiny-imagenet-100")


@dataclass(frozen=True)
class Arm:
    """One row of a table.

    Attributes:
        name: of the row.
        spec: mapping for ExperimentSpec, without the seed.
        baseline: name of the arm it is compared with, seed by seed; "" for a baseline itself.
        also: a second arm it is compared with ("kd" for the teacher-student methods), or "".
    """

    name: str
    spec: dict[str, Any] = field(repr=False)
    baseline: str = ""
    also: str = ""


@dataclass(frozen=True)
class Suite:
    """Arms in the order in which they tell most, how often each is repeated, and what the table says above."""

    title: str
    seeds: int
    arms: list[Arm]
    note: str
    first_seed: int = 0


def digits(folder: str) -> Suite:
    """Ten images a class, resnet20-size nets: small enough for two cores, and honest."""
    base = {
        "data": {"name": "digits", "image_size": 16, "per_class": 10},
        "recipe": {"epochs": 60, "batch_size": 32, "lr": 0.05},
        "runtime": {"device": "cpu", "threads": 1},
    }
    teacher = {"spec": base | {"student": "resnet20", "method": "none", "seed": 100}}
    cip_teacher = {"spec": base | {"student": "resnet20_cip", "method": "none", "seed": 100}}

    def arm(name: str, student: str, method: str, baseline: str = "none", also: str = "", **more: Any) -> Arm:
        return Arm(name, base | {"student": student, "method": method} | more, baseline, also)

    arms = [
        arm("none", "resnet20", "none", baseline=""),
        arm("none (CIP net)", "resnet20_cip", "none"),
        arm("none (light net)", "resnet20_light", "none"),
        arm("kd", "resnet20", "kd", teacher=teacher),
        arm("kd (CIP teacher)", "resnet20", "kd", teacher=cip_teacher),
        arm("dcad (CIP teacher)", "resnet20", "dcad", also="kd (CIP teacher)", teacher=cip_teacher),
        arm("light_self (light net)", "resnet20_light", "light_self", baseline="none (light net)", also="none"),
        arm("grkd", "resnet20", "grkd", also="kd", teacher=teacher),
        arm("fusion_self", "resnet20", "fusion_self", also="byot"),
        arm("ama_self", "resnet20", "ama_self", also="frskd"),
        arm("byot", "resnet20", "byot"),
        arm("frskd", "resnet20", "frskd"),
    ]
    note = (
        "Digits at 16 px, ten training images a class, 143 for validation, 360 for test; SGD, cosine, 60 epochs, "
        "batch 32, learning rate 0.05; teachers are trained on the same images, one for all seeds. 0.28 points are "
        "one test image."
    )
    return Suite("Digits, ten images a class", 5, arms, note)


def digits_choices(folder: str) -> Suite:
    """Settings of the methods that did not help on digits at first, on seeds of their own; chosen by validation."""
    base = digits(folder)
    known = {arm.name: arm for arm in base.arms}

    def variants(name: str, settings: dict[str, dict[str, Any]]) -> list[Arm]:
        spec = known[name].spec
        return [
            Arm(f"{name} {label}", spec | {"method": {"name": spec["method"]} | values}, "none")
            for label, values in settings.items()
        ]

    dcad = {
        f"beta {beta:g} gamma {gamma:g}": {"beta": beta, "gamma": gamma}
        for beta, gamma in ((8, 2), (2, 2), (1, 2), (1, 0.5), (1, 0))
    }
    grkd: dict[str, dict[str, Any]] = {
        "held out, every 50": {"meta_data": "held_out"},
        "train, every 50": {},
        "off": {"meta": "off"},
    }
    arms = [known["none"], *variants("dcad (CIP teacher)", dcad), *variants("grkd", grkd)]
    return Suite("Digits: settings tried", 3, arms, base.note, first_seed=10)


def digits_weights(folder: str) -> Suite:
    """Weights that public recipes have for 240 epochs of CIFAR, in short runs, on seeds of their own; by validation."""
    base = digits(folder)
    known = {arm.name: arm for arm in base.arms}
    weights = {"at": ("at_weight", (1000, 100, 10, 1)), "dkd": ("beta", (8, 4, 2, 1))}
    tried = [
        Arm(f"{method} {value}", known["kd"].spec | {"method": {"name": method, setting: value}}, "none")
        for method, (setting, values) in weights.items()
        for value in values
    ]
    return Suite("Digits: weights of long recipes", 5, [known["none"], *tried], base.note, first_seed=101)


def light_choices(folder: str) -> Suite:
    """Why the compressed net loses on digits, and whether other settings of its self-distillation help it."""
    base = digits(folder)
    known = {arm.name: arm for arm in base.arms}
    spec = known["none (light net)"].spec

    def net(**options: Any) -> dict[str, Any]:
        return {"student": {"name": "resnet20_light"} | options}

    def longer(epochs: int) -> dict[str, Any]:
        return {"recipe": spec["recipe"] | {"epochs": epochs}}

    nets = {
        "8 groups": net(groups=8),
        "4 groups": net(),
        "2 groups": net(groups=2),
        "separable": net(layout="separable", groups=8),
        "8 groups, 240 epochs": net(groups=8) | longer(240),
    }
    arms = [known["none"], Arm("none, 240 epochs", known["none"].spec | longer(240))]
    for label, changed in nets.items():
        full = "none, 240 epochs" if "240" in label else "none"
        arms.append(Arm(f"light {label}", spec | changed, full))
        arms.append(
            Arm(f"light {label}, light_self", spec | changed | {"method": "light_self"}, f"light {label}", full)
        )
    settings: dict[str, dict[str, Any]] = {
        "without attention": {"attention": "none"},
        "ECA": {"attention": "eca"},
        "alpha 0": {"alpha": 0.0, "feature_weight": 0.0},
        "alpha 0.7": {"alpha": 0.7},
        "feature weight 0": {"feature_weight": 0.0},
    }
    arms += [
        Arm(
            f"light 8 groups, light_self {label}",
            spec | net(groups=8) | {"method": {"name": "light_self"} | values},
            "light 8 groups",
        )
        for label, values in settings.items()
    ]
    arms.append(Arm("resnet20 light_self", known["none"].spec | {"method": "light_self"}, "none"))
    return Suite("Digits: the compressed net", 3, arms, base.note, first_seed=10)


def gpu(folder: str) -> Suite:
    """Real images, 60 epochs, three seeds; the rows that tell most come first."""
    arms = [
        arm for part in (_teachers, _dcad, _self, _light, _graph) for data in DATASETS for arm in part(folder, data)
    ]
    note = (
        "32 px, 60 epochs, SGD with Nesterov momentum, cosine, batch 128, weight decay 5e-4, crop and flip, 10 % of "
        "the training images held out for selection; teachers are one for all seeds. CIFAR-10 is the JPEG form."
    )
    return Suite("Real images, 60 epochs", 3, arms, note)


def _base(folder: str, data: str, **recipe: Any) -> dict[str, Any]:
    numbers = {"epochs": 60, "batch_size": 128, "lr": 0.1, "warmup_epochs": 2} | recipe
    images = {"name": "folder", "path": f"{folder}/{data}", "image_size": 32, "augmentation": "crop_flip"}
    return {"data": images, "recipe": numbers}


def _rows(base: dict[str, Any], data: str, baseline: str, rows: list[tuple[str, str, dict[str, Any]]]) -> list[Arm]:
    first = f"{data} {baseline}"
    arms = []
    for name, also, spec in rows:
        full = f"{data} {name}"
        arms.append(Arm(full, base | spec, "" if full == first else first, f"{data} {also}" if also else ""))
    return arms


def _teachers(folder: str, data: str) -> list[Arm]:
    def net(pool: str, blur: bool) -> dict[str, Any]:
        student = {"name": "resnet34_cip", "pool": pool, "blur_shortcut": blur}
        return {"student": student, "method": "none"}

    rows = [
        ("resnet34", "", {"student": "resnet34", "method": "none"}),
        ("resnet34 CIP and blur", "", net("cip", True)),
        ("resnet34 CIP", "", net("cip", False)),
        ("resnet34 blur", "", net("blur", True)),
    ]
    return _rows(_base(folder, data), data, "resnet34", rows)


def _dcad(folder: str, data: str) -> list[Arm]:
    base = _base(folder, data, lr=0.05)
    teacher = {"spec": _base(folder, data) | {"student": "resnet34_cip", "method": "none", "seed": 100}}
    rows: list[tuple[str, str, dict[str, Any]]] = [
        ("mobilenetv3_small none", "", {"student": "mobilenetv3_small", "method": "none"})
    ]
    for method in ("dcad", "dkd", "kd"):
        spec = {"student": "mobilenetv3_small", "method": method, "teacher": teacher}
        rows.append((f"mobilenetv3_small {method}", "" if method == "kd" else "mobilenetv3_small kd", spec))
    return _rows(base, data, "mobilenetv3_small none", rows)


def _self(folder: str, data: str) -> list[Arm]:
    base = _base(folder, data)
    also = {"fusion_self": "resnet18 byot", "ama_self": "resnet18 frskd"}
    rows = [("resnet18", "", {"student": "resnet18", "method": "none"})]
    rows += [
        (f"resnet18 {method}", also.get(method, ""), {"student": "resnet18", "method": method})
        for method in ("fusion_self", "ama_self", "byot", "frskd")
    ]
    rows.append(
        ("resnet18 cutmix", "", {"method": "none", "student": "resnet18", "recipe": base["recipe"] | {"cutmix": 1.0}})
    )
    return _rows(base, data, "resnet18", rows)


def _light(folder: str, data: str) -> list[Arm]:
    rows = [
        ("resnet18_light", "", {"student": "resnet18_light", "method": "none"}),
        ("resnet18_light light_self", "resnet18", {"student": "resnet18_light", "method": "light_self"}),
    ]
    return _rows(_base(folder, data), data, "resnet18_light", rows)


def _graph(folder: str, data: str) -> list[Arm]:
    base = _base(folder, data, lr=0.05)
    teacher = {"spec": base | {"student": "resnet32x4", "method": "none", "seed": 100}}
    rows: list[tuple[str, str, dict[str, Any]]] = [("resnet8x4 none", "", {"student": "resnet8x4", "method": "none"})]
    for method in ("grkd", "kd", "rkd"):
        spec = {"student": "resnet8x4", "method": method, "teacher": teacher}
        rows.append((f"resnet8x4 {method}", "" if method == "kd" else "resnet8x4 kd", spec))
    return _rows(base, data, "resnet8x4 none", rows)


SUITES: dict[str, Callable[[str], Suite]] = {
    "digits": digits,
    "digits_choices": digits_choices,
    "digits_weights": digits_weights,
    "light_choices": light_choices,
    "gpu": gpu,
}
