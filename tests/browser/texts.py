"""Every text that a page shows while tests click through it, so that none is left out of the catalogue."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page

from app.forms import choices_of
from app.server import language
from app.theme import ASSETS
from kdengine.registry import DATASETS, METHODS, MODELS
from kdengine.spec import DataSpec, RecipeSpec, RuntimeSpec
from kdengine.spec.named_recipes import RECIPES

FILE = "texts.txt"
IDENTIFIER = re.compile(r"\S*[\d_/@<>=:.-]\S*")
SHORT_ID = re.compile(r" \[[0-9a-f]{4}\]")
SETTINGS = [
    *(kind.get(name).Params for kind in (DATASETS, METHODS, MODELS) for name in kind.names()),
    *(RecipeSpec, DataSpec, RuntimeSpec),
]
REGISTERED = {
    *RECIPES,
    *(name for kind in (DATASETS, METHODS, MODELS) for name in kind.names()),
    *(word for name in DATASETS.names() for word in DATASETS.get(name).title.split()),
    *(word.strip("(),:") for name in METHODS.names() for word in METHODS.get(name).paper.split()),
    *(field for settings in SETTINGS for field in settings.model_fields),
    *(str(choice) for settings in SETTINGS for info in settings.model_fields.values() for choice in choices_of(info)),
}
SIGNS = set(
    "px ms min kB KB MB GB GiB CPU GPU MACs ce ece CKA XL SVG PNG HTML CSV LaTeX Markdown ONNX npz plotly-logomark "  # noqa: SIM905
    "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
)
OF_TESTS = {
    *("alpha", "beta", "gamma", "older", "newer", "earlier", "clicked", "mine", "large", "long", "broken", "holiday"),
    *("notes", "moon", "sun", "round", "square", "shapes", "resnet", "abc", "def", "ghi", "jkl", "mno", "pqr", "stu"),
    *("ash", "elm", "oak", "fake", "fast", "leaves", "many", "net", "odd", "paper", "permuted", "photo", "photos"),
    *("two", "words", "hand", "other", "cheap", "dash"),
}
"""What the tests call their runs, studies, classes and files."""
CHINESE = "zh-CN"
# A sentence with elements in its midst counts as one text, or as its pieces: language.js looks up either.
WATCH = """
(() => {
  const seen = new Set(), fresh = new Set();
  const add = (text, pieces) => {
    const key = JSON.stringify([text, pieces]);
    if (seen.has(key)) return;
    seen.add(key);
    fresh.add(key);
  };
  const at = (element) => {
    if (document.documentElement.lang !== 'en') return;
    if (window.kdLanguage.isSkipped(element)) return;
    const sentence = window.kdLanguage.sentence(element);
    const texts = [...element.childNodes].filter(each => each.nodeType === 3).map(each => each.data)
      .filter(text => /[A-Za-z]{2}/.test(text));
    if (sentence && texts.length) add(sentence.text, texts);
    else texts.forEach(text => add(text, [text]));
    const said = window.kdLanguage.ATTRIBUTES.map(name => element.getAttribute(name));
    if (element.matches('input[role=combobox], input[role=listbox]')) said.push(element.value);
    said.filter(Boolean).forEach(text => add(text, [text]));
  };
  const walk = (node) => {
    if (node.nodeType === 3) { if (node.parentElement) at(node.parentElement); return; }
    if (node.nodeType !== 1) return;
    at(node);
    node.querySelectorAll('*').forEach(at);
  };
  const flush = () => { if (fresh.size) { window.kdNoteTexts([...fresh]); fresh.clear(); } };
  new MutationObserver(changes => changes.forEach(({target, addedNodes}) => {
    walk(target.nodeType === 3 ? target : {nodeType: 0});
    if (target.nodeType === 1) at(target);
    addedNodes.forEach(walk);
  })).observe(document, {subtree: true, childList: true, characterData: true, attributes: true,
    attributeFilter: window.kdLanguage.ATTRIBUTES});
  setInterval(flush, 300);
  window.addEventListener('pagehide', flush);
})();
"""


def note(context: BrowserContext, folder: Path) -> None:
    """Notes what the pages of a browser show from now on in `FILE` of the folder."""

    def write(found: list[str]) -> None:
        with (folder / FILE).open("a") as file:
            file.writelines(f"{line}\n" for line in found)

    context.expose_function("kdNoteTexts", write)
    context.add_init_script((ASSETS / "language.js").read_text())
    context.add_init_script(WATCH)


def noted(folder: Path) -> list[tuple[str, list[str]]]:
    """Text and pieces of all that was noted, each once."""
    lines = dict.fromkeys((folder / FILE).read_text().splitlines())
    # A program to copy, which a message shows line by line, is the same in every language.
    return [(text, pieces) for text, pieces in map(json.loads, lines) if "import save_file" not in text]


def is_a_name(text: str) -> bool:
    """Whether it is the same in every language: a name of a method, network or data set, a number with its unit."""
    words = [word.strip("()[],:;→") for word in SHORT_ID.sub("", text).split()]
    known = REGISTERED | SIGNS | OF_TESTS
    return all(not re.search("[A-Za-z]{2}", word) or word in known or IDENTIFIER.fullmatch(word) for word in words)


def outside(page: Page, found: list[tuple[str, list[str]]]) -> list[str]:
    """What of that language.js does not find in the Chinese catalogue; the page is an empty one."""
    page.evaluate(f"window.kdCatalog = {json.dumps(language.catalogs()[CHINESE])}")
    page.add_script_tag(path=ASSETS / "language.js")
    missing: list[list[Any]] = page.evaluate(
        """found => {
          const missing = text => window.kdLanguage.translate(text).missing;
          return found.map(([text, pieces]) => missing(text).length ? pieces.flatMap(missing) : []);
        }""",
        [list(each) for each in found],
    )
    return sorted({text for texts in missing for text in texts})
