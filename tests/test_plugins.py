"""What other packages add is loaded one by one: what fails is told and hurts nobody, and a switch leaves all out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from plugin_packages import install
from support import PATIENCE_S

from kdengine import plugins
from kdengine.errors import BadInput
from kdengine.registry import Registry, UnknownName

GROUP = "kdengine.tests"
FILES = """
import sys
if "plugin_registry" in sys.modules:
    sys.modules["plugin_registry"].HERE.register({name!r})({name!r})
"""
FAILING = "raise ImportError('it was built for another\\n version')"


class Place:
    """A registry of its own, and a folder of packages that add to it."""

    def __init__(self, site: Path) -> None:
        self.site = site
        self.registry: Registry[str] = Registry("thing", "json", GROUP)

    def add(self, name: str, code: str = "") -> None:
        install(self.site, name, GROUP, FILES.format(name=name) + code)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module = type(sys)("plugin_registry")
    module.HERE = made.registry  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "plugin_registry", module)
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    yield made
    for name in [path.stem for path in tmp_path.glob("*.py")]:
        sys.modules.pop(name, None)


AGAIN = "sys.modules['plugin_registry'].HERE.register('a_first')('another')"


@pytest.mark.parametrize("failing", [FAILING, "1 / 0", "sys.exit(1)", AGAIN])
def test_one_that_fails_hurts_no_other(place: Place, failing: str) -> None:
    place.add("a_first")
    place.add("b_broken", failing)
    place.add("c_last")
    assert sorted(place.registry.names()) == ["a_first", "c_last"], "half of what failed is there, or others are not"
    (failure,) = place.registry.failures()
    assert (failure.name, failure.package) == ("b_broken", "b_broken-plug 1.0") and failure.error


def test_who_asks_for_what_failed_is_told_why(place: Place) -> None:
    place.add("b_broken", FAILING)
    with pytest.raises(UnknownName) as caught:
        place.registry.get("b_broken")
    assert "'b_broken' of b_broken-plug 1.0 could not be loaded: ImportError: it was built for another version" in str(
        caught.value
    )


def test_the_switch_leaves_out_what_others_add(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.add("a_first")
    monkeypatch.setenv(plugins.VARIABLE, "off")
    assert place.registry.names() == []
    with pytest.raises(UnknownName, match="plug-ins are switched off by KD_PLUGINS"):
        place.registry.get("a_first")


@pytest.mark.parametrize("word", ["of", "0", "none"])
def test_a_switch_that_says_neither_is_refused(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugins.VARIABLE, word)
    with pytest.raises(BadInput, match=f"found '{word}', expected on or off"):
        plugins.switched_off()


def test_all_threads_wait_for_the_first_look(place: Place) -> None:
    """The first of them loads; the others must not look into what is half loaded."""
    place.add("slow", "import time; time.sleep(0.5)")
    place.add("z_after")
    ready = threading.Barrier(8)

    def look(number: int) -> list[str]:
        ready.wait()
        return sorted(place.registry.names())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(look, range(8))) == [["slow", "z_after"]] * 8


def test_what_loads_may_look_in_itself(place: Place) -> None:
    place.add("a_looks", "HERE = sys.modules['plugin_registry'].HERE; assert HERE.get('a_looks') == 'a_looks'")
    place.add("b_broken", "sys.modules['plugin_registry'].__dict__.setdefault('tried', []).append(1); 1 / 0")
    assert place.registry.names() == ["a_looks"] and len(place.registry.failures()) == 1
    assert sys.modules["plugin_registry"].tried == [1], "it was loaded twice"


# with the program itself ---------------------------------------------------------------------------------------------

COMMAND = """
from kdengine.cli import Command
GREET = Command("greet", "says something", "greet")
def add_arguments(parser): pass
def main(options): print("good day")
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """One command that works, and one broken package for each kind."""
    folder = tmp_path / "site"
    install(folder, "greet", "kdengine.commands", COMMAND, "GREET")
    for kind in ("commands", "methods", "models", "datasets"):
        install(folder, f"broken_{kind}", f"kdengine.{kind}", FAILING)
    return folder


def kd(site: Path, home: Path, *words: str, expected: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH", ""))))
    environment = os.environ | {"PYTHONPATH": path, "KD_HOME": str(home)} | variables
    words = (sys.executable, "-m", "kdengine", *words)
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == expected, done.stdout + done.stderr
    return done


@pytest.mark.processes
def test_kd_goes_on_and_tells(site: Path, tmp_path: Path) -> None:
    listed = kd(site, tmp_path, "list", "methods", "kd*")
    assert "kd_standardized" in listed.stdout
    assert "'broken_methods' of broken_methods-plug 1.0 could not be loaded: ImportError" in listed.stderr
    assert kd(site, tmp_path, "greet").stdout == "good day\n"
    told = kd(site, tmp_path, "broken_commands", expected=3).stderr
    assert "'broken_commands' of broken_commands-plug 1.0 could not be loaded" in told and "Traceback" not in told
    shown = kd(site, tmp_path, "--help")
    assert "greet" in shown.stdout and " study " in shown.stdout and "broken_commands" in shown.stderr
    found = json.loads(kd(site, tmp_path, "doctor", "--json").stdout)
    texts = [one["text"] for one in found if one["subject"] == "plug-ins" and one["level"] == "warning"]
    assert len(texts) == 4 and all(any(f"broken_{kind}" in text for text in texts) for kind in ("models", "datasets"))


@pytest.mark.processes
def test_kd_without_plugins(site: Path, tmp_path: Path) -> None:
    off = {"KD_PLUGINS": "off"}
    assert kd(site, tmp_path, "list", "methods", "kd*", **off).stderr == ""
    shown = kd(site, tmp_path, "--help", **off)
    assert "greet" not in shown.stdout and " study " in shown.stdout and " ui " in shown.stdout and not shown.stderr
    assert "switched off by KD_PLUGINS" in kd(site, tmp_path, "doctor", **off).stdout
    assert "expected on or off" in kd(site, tmp_path, "list", "methods", expected=2, KD_PLUGINS="no").stderr
