"""What is wrong with a setting, in words and at its field."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import (
    BaseModel,
    ValidationError,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from kdengine.errors import Problem


def near(word: str, known: list[str]) -> str:
    """Advice for a word that is not known: those like it, else all."""
    alike = difflib.get_close_matches(word, known, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, alike))}?" if alike else f"there are: {', '.join(known) or 'none'}"


def field_error(model: str, field: str, message: str, found: Any) -> ValidationError:
    """An error at one field of a model, as a validator raises it."""
    return field_errors(model, {field: message}, {field: found})


def field_errors(model: str, messages: Mapping[str, str], found: Mapping[str, Any]) -> ValidationError:
    """The same for several fields at once: ``messages`` and what was ``found``, by field."""
    errors = [
        InitErrorDetails(
            type=PydanticCustomError("spec", "{text}", {"text": text}), loc=(field,), input=found.get(field)
        )
        for field, text in messages.items()
    ]
    return ValidationError.from_exception_data(model, errors)


def problems_of(error: ValidationError, model: type[BaseModel]) -> Iterator[Problem]:
    """What pydantic found wrong with an instance of ``model``, each with its dotted field."""
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"] if part != "params")
        if item["type"] == "extra_forbidden":
            yield Problem(
                field, f"there is no such setting; {near(str(item['loc'][-1]), _known_at(item['loc'], model))}"
            )
        elif item["type"] in ("spec", "schedule", "device", "teacher"):
            yield Problem(field or item["type"], item["msg"])
        else:
            yield Problem(field, f"{item['msg'][0].lower()}{item['msg'][1:]}; found {item['input']!r}")


def _known_at(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    at: Any = model
    for part in location[:-1]:
        annotation = at.model_fields[part].annotation if part in at.model_fields else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        at = next((option for option in options if isinstance(option, type) and issubclass(option, BaseModel)), model)
    return [info.alias or name for name, info in at.model_fields.items()]
