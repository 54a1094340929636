"""Who opens the folder of the methods finds a file for each, and what they share under an underscore."""

from __future__ import annotations

from pathlib import Path

import kdengine.methods
from kdengine.methods import get_method, list_methods

FOLDER = Path(kdengine.methods.__file__).parent
NO_METHOD = {"__init__", "base"}


def test_every_file_without_an_underscore_is_one_method_of_that_name() -> None:
    files = {path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_")} - NO_METHOD
    built_in = [name for name in list_methods() if get_method(name).__module__.startswith("kdengine.")]
    assert {name: get_method(name).__module__ for name in built_in} == {
        name: f"kdengine.methods.{name}" for name in built_in
    }
    assert files == set(built_in)
