"""``kd new-method NAME``: a package with a method that works, its tests, and what to change in it."""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from pathlib import Path

from kdengine.errors import BadInput, Problem
from kdengine.registry import METHODS
from kdengine.workspace import files

NAME = re.compile(r"^[a-z][a-z0-9_]{1,39}\Z")

METHOD = '''"""{title}: what it does, and where it comes from."""

from kdengine.losses import kd
from kdengine.methods import Settings, TaughtMethod, Term, register, temperature_setting, weight_setting


class {prefix}Params(Settings):
    """Each field becomes a control of the form, an option of the shell and a dial of a study."""

    temperature: float = temperature_setting(4.0, source="our choice")
    weight: float = weight_setting(
        1.0,
        title="Weight",
        description="Weight of the divergence from the teacher.",
        source="our choice",
        tune=(0.1, 10.0),
    )


@register
class {prefix}(TaughtMethod):
    """L = CE + weight KL(teacher || student) T^2. Change it to what you have in mind."""

    name = "{name}"
    title = "{title}"
    description = "The student imitates the teacher's softened class probabilities."
    when = "First of all: cheap, for any pair of networks."
    paper = "authors, title, year"
    family = "logits"
    teacher_outputs = ("logits",)  # what loss_terms reads of the teacher; there are "embedding" and "stages" too
    student_outputs = ("logits",)
    batch_relations = ""  # nothing relates the images of a batch to each other; if something does, say what
    Params = {prefix}Params

    def loss_terms(self, student, teacher, batch, clock):
        return {{
            "ce": Term(self.cross_entropy(student.logits, batch.target), 1.0),
            "kd": Term(kd(student.logits, teacher.logits, self.params.temperature), self.params.weight),
        }}
'''

TEST = '''"""Every promise that a method makes, each a case; what this one is meant to do; and its page."""

from pathlib import Path

import pytest

from kdengine.methods import in_page, settings_table
from kdengine.testing import METHOD_CHECKS, trial_of


@pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.__name__)
def test_method(check):
    check("{name}")


def test_without_weight_it_is_cross_entropy_alone():
    terms = trial_of("{name}", weight=0.0).terms()
    assert terms["kd"].weighted.item() == 0 and terms["ce"].weighted.item() > 0


def test_the_page_has_the_settings_of_the_code():
    page, table = Path(__file__).with_name("README.md").read_text(), settings_table("{name}")
    assert in_page(page, table) == page, "the table of README.md is stale; it should be\\n" + table
'''

PROJECT = """[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "{package}"
version = "0.1"
requires-python = ">=3.11"
dependencies = ["kdengine"]

[project.entry-points."kdengine.methods"]
{name} = "{name}"

[tool.setuptools]
py-modules = ["{name}"]
"""

README = """# {title} (`{name}`)

What it does in two sentences, for someone who knows distillation. A method for kd (the package kdengine).

$$L = CE + w T^2 KL(teacher || student)$$

| parameter | default | allowed | searched | where the default comes from |
|---|---|---|---|---|
| `temperature` | 4 | (0, 100] | 1 .. 10, log | our choice |
| `weight` | 1 | [0, 100] | 0.1 .. 10, log | our choice |

```
pip install -e .
pytest                                   # all that every method promises, and whether the table above is the code's
kd list methods {name}
kd train --dataset digits --teacher resnet8x4 --student mobilenetv3_small --method {name}
kd compare first --methods kd,{name} --seeds 5 --dataset digits --teacher resnet8x4 --student resnet20
```

`{name}.py` is the method; what else one may have stands in kd's docs/add-a-method.md.

## References

- authors: title, where, year. What deviates from it, and what the paper leaves open.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd new-method``."""
    parser.add_argument("name", metavar="NAME", help="as in --method NAME: small letters, digits and _")
    parser.add_argument("--to", metavar="FOLDER", help="of the package; default: NAME with - for _")


def main(options: argparse.Namespace) -> int:
    """Writes the package and says what comes next."""
    name = options.name
    folder = Path(options.to or name.replace("_", "-"))
    _check(name, folder)
    words = {
        "name": name,
        "package": name.replace("_", "-"),
        "prefix": "".join(part.capitalize() for part in name.split("_")),
        "title": name.replace("_", " ").capitalize(),
    }
    contents = {f"{name}.py": METHOD, f"test_{name}.py": TEST, "pyproject.toml": PROJECT, "README.md": README}
    with files.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        files.write_text(folder / file, content.format(**words))
    sys.stdout.write(
        f"{folder}: {', '.join(contents)}\n\n"
        f"    pip install -e {folder}\n    pytest {folder}\n    kd list methods {name}\n\n"
        f"It works as it is: plain soft targets. {folder / f'{name}.py'} is where yours goes.\n"
    )
    return 0


def _check(name: str, folder: Path) -> None:
    problems = []
    if not NAME.match(name) or keyword.iskeyword(name):
        problems.append(
            Problem("NAME", f"found {name!r}, expected 2 to 40 small letters, digits and _, a letter first")
        )
    elif name in METHODS:
        problems.append(Problem("NAME", f"there is a method {name!r} already; choose another name"))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        problems.append(Problem("--to", f"{folder} is there already; choose another folder"))
    if problems:
        raise BadInput(problems)
