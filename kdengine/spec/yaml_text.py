"""YAML as people write it, read without its traps: every surprise is refused in words.

PyYAML takes in silence: a key given twice (the first one is lost), ``yes`` and ``off`` for truth values and 010 for
eight (YAML 1.1; here the words of YAML 1.2 count), aliases that unfold to millions of values, nesting without end,
numbers of thousands of digits.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from kdengine.errors import BadInput, Problem

try:  # libyaml takes an eighth of the time, and refuses deep nesting itself
    from yaml import CSafeLoader as _Parser
except ImportError:
    from yaml import SafeLoader as _Parser  # type: ignore[assignment]

MAX_DEPTH = 30
MAX_VALUES = 100_000
MAX_DIGITS = 400
MAX_CHARACTERS = 2_000_000


def read_yaml(text: str, field: str = "") -> Any:
    """The value that a text holds.

    Args:
        text: YAML.
        field: where it comes from, for the message, e.g. ``--spec``.

    Raises:
        BadInput: it is no YAML, or holds what nobody means.
    """
    try:
        if len(text) > MAX_CHARACTERS:
            raise _Refused(f"found {len(text):,} characters, expected {MAX_CHARACTERS:,} at most")
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _measure(node, {}, ())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except _Refused as error:
        raise BadInput(Problem(field, str(error))) from error
    except (RecursionError, yaml.YAMLError, ValueError) as error:
        if isinstance(error, RecursionError) or "nesting depth" in str(error):
            raise BadInput(Problem(field, f"this is nested more deeply than {MAX_DEPTH} levels")) from error
        raise BadInput(Problem(field, f"this is not YAML: {' '.join(str(error).split())}")) from error


class _Refused(Exception):
    """Says what nobody means."""


class _Loader(_Parser):
    """The words of YAML 1.2's core schema for truth values and numbers, and no key twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own form

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            line = node.start_mark.line + 1
            raise _Refused(f"{', '.join(map(repr, twice))} is given twice in the mapping that begins in line {line}")
        return super().construct_mapping(node, deep=deep)

    def construct_number(self, node: Any) -> int | float:
        text = self.construct_scalar(node)
        if len(text) > MAX_DIGITS:
            raise _Refused(f"found a number of {len(text):,} digits in line {node.start_mark.line + 1}")
        return (
            int(text)
            if re.fullmatch(r"[-+]?[0-9]+", text)
            else float(text.replace(".inf", "inf").replace(".nan", "nan"))
        )


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("tag:kd:number", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    ("tag:kd:number", r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("tag:kd:number", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+."),
    ("tag:yaml.org,2002:merge", r"^(?:<<)$", "<"),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))
_Loader.add_constructor("tag:kd:number", _Loader.construct_number)


def _measure(node: Any, known: dict[int, int], above: tuple[int, ...]) -> int:
    """How many values a node unfolds to; raises _Refused for too many, too deep, or one that holds itself."""
    if id(node) in above:
        raise _Refused("an alias stands inside what it stands for")
    if len(above) > MAX_DEPTH:
        raise _Refused(f"this is nested more deeply than {MAX_DEPTH} levels")
    if id(node) not in known:
        below = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        parts = below if isinstance(node, yaml.CollectionNode) else ()
        known[id(node)] = 1 + sum(_measure(part, known, (*above, id(node))) for part in parts)
    if known[id(node)] > MAX_VALUES:
        raise _Refused(f"aliases unfold this to more than {MAX_VALUES:,} values")
    return known[id(node)]
