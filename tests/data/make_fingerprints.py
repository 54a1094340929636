"""Writes ``fingerprints.json`` beside it: experiments of all kinds, and the fingerprints that this version gives them.

    python tests/data/make_fingerprints.py

The file holds what finished runs are found by, so an entry once written stays as it is; run this for new entries only:
what stands in the file already is kept, and one that would change is an error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kdengine import ExperimentSpec
from kdengine.registry import DATASETS, METHODS, MODELS
from kdengine.spec.named_recipes import RECIPES

TABLE = Path(__file__).with_name("fingerprints.json")
DIGEST = "0123456789abcdef"


def experiments() -> Iterator[dict[str, Any]]:
    """Every method, model, data set, recipe and kind of teacher; settings at their defaults and elsewhere."""
    yield {"method": "none"}
    for name in METHODS.names():
        yield _taught(name) | {"student": "mobilenetv3_small"}
        for setting, value in _moved(METHODS.get(name).Params):
            yield _taught(name) | {"method": {"name": name, setting: value}, "student": "resnet20"}
    for name in MODELS.names():
        yield {"method": "none", "student": name, "data": {"name": "cifar100"}}
    for name in DATASETS.names():
        if name != "folder":
            yield {"method": "none", "student": "resnet20", "data": name}
    yield {"method": "none", "student": "timm/resnet10t", "data": {"image_size": 64}}
    yield {"method": "none", "student": {"name": "mobilenetv3_large", "dropout": 0.0, "batch_norm": "published"}}
    for name in RECIPES:
        yield {"method": "none", "student": "mobilenetv3_small", "recipe": name}
        yield {"method": "dkd", "teacher": "resnet8x4", "student": "resnet20", "recipe": name}
    yield from _with_options()
    yield from _own_images()
    yield from _teachers()


def _taught(method: str) -> dict[str, Any]:
    entry = METHODS.get(method)
    return {"method": method} | ({"teacher": "resnet8x4"} if entry.requires(entry.Params()).teacher else {})


def _moved(settings: Any) -> Iterator[tuple[str, Any]]:
    """The first number of a method, a little off its default."""
    for name, field in settings.model_fields.items():
        tune = (field.json_schema_extra or {}).get("tune")
        if isinstance(field.default, float) and tune:
            yield name, tune["low"] if field.default != tune["low"] else tune["high"]
            return


def _with_options() -> Iterator[dict[str, Any]]:
    for recipe in ({"mixup": 0.2}, {"cutmix": 1.0}, {"accumulate": 2}, {"mixup": 0, "cutmix": 0.0, "accumulate": 1}):
        yield {"method": "kd", "teacher": "resnet20", "student": "resnet8x4", "recipe": recipe}
        yield {"method": "none", "recipe": {"name": "crd240", "epochs": 3, "milestones": [2]} | recipe}
    for data in (
        {"resized_crop": 0.3},
        {"rotation": 10},
        {"cutout": 4},
        {"rotation": 0, "cutout": 0},
        {"per_class": 9},
    ):
        yield {"method": "none", "data": data}
        yield {"method": "kd", "teacher": "resnet20", "data": data}
    for runtime in ({"precision": "bf16"}, {"precision": "fp32", "device": "cpu", "threads": 2, "keep_epochs": [1]}):
        yield {"method": "none", "runtime": runtime}
    yield {"method": "none", "title": "my first", "seed": 7, "data": {"split_seed": 3, "fraction": 0.5}}
    yield {"method": "none", "recipe": {"optimizer": "adamw", "lr": 0.001, "weight_decay": 0.0, "ema": 0.99}}


def _own_images() -> Iterator[dict[str, Any]]:
    for more in ({}, {"layout": "classes"}, {"split": "position"}, {"split": "position", "on_corrupt": "skip"}):
        yield {"method": "none", "data": {"name": "folder", "path": "/photos"} | more}
        yield {"method": "kd", "teacher": "resnet20", "data": {"name": "folder", "path": "/photos"} | more}
    written_before = {
        "name": "folder", "image_size": 32, "validation": 0.1, "split_seed": 0, "per_class": None, "fraction": 1.0,
        "augmentation": "crop_flip", "path": "/photos", "on_corrupt": "refuse",
    }  # fmt: skip
    yield {"method": "none", "data": written_before}
    yield {"method": "none", "data": written_before | {"layout": "auto"}}


def _teachers() -> Iterator[dict[str, Any]]:
    own = {"student": "resnet20", "method": "kd", "teacher": {"run": "abc"}, "recipe": {"mixup": 0.1}}
    for teacher in (
        "run:20250101-120000-none-ab12", "import:my-net", {"import": "my-net", "digest": DIGEST},
        {"import": "another", "digest": DIGEST}, {"spec": own}, "resnet56",
        {"spec": {"student": {"name": "mobilenetv3_large", "dropout": 0.1}, "method": "none", "seed": 5}},
    ):  # fmt: skip
        yield {"method": "dkd", "teacher": teacher, "student": "resnet8x4"}


def main() -> int:
    """Adds what is missing; 1 when an entry would change."""
    there = json.loads(TABLE.read_text()) if TABLE.exists() else []
    known = {json.dumps(entry["experiment"]): entry["fingerprint"] for entry in there}
    entries, changed = list(there), 0
    for mapping in experiments():
        fingerprint = ExperimentSpec.from_mapping(mapping).fingerprint()
        before = known.setdefault(json.dumps(mapping), fingerprint)
        if before != fingerprint:
            changed += 1
            sys.stderr.write(f"{mapping}: found {fingerprint}, {before} before\n")
        elif {"experiment": mapping, "fingerprint": fingerprint} not in entries:
            entries.append({"experiment": mapping, "fingerprint": fingerprint})
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    TABLE.write_text(f"[\n{lines}\n]\n")
    return int(bool(changed))


if __name__ == "__main__":
    sys.exit(main())
