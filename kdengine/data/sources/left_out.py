"""What lies among images and is none of the data set, by name: a person may have meant it to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from kdengine.data.sources.image_files import EXTENSIONS
from kdengine.data.sources.names import readable
from kdengine.data.sources.tree import Parts
from kdengine.data.wording import some

_OF_SYSTEMS = ("Thumbs.db", "desktop.ini")


def is_hidden(parts: Parts) -> bool:
    """Whether a file or folder is the system's own, or lies in such a folder: its name begins with a dot."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def is_image(parts: Parts) -> bool:
    """Whether a file is an image, by its name."""
    return PurePosixPath(parts[-1]).suffix.lower() in EXTENSIONS


def left_out(names: Iterable[Parts], unlabelled: Iterable[str] = ()) -> tuple[str, ...]:
    """Sentences about files that are no samples, each with names and numbers; none of what every system leaves behind.

    Args:
        names: of all files.
        unlabelled: of images of a part without labels.
    """
    hidden, others = Counter[str](), Counter[str]()
    for parts in names:
        if is_hidden(parts):
            if is_image(parts) and not _of_the_system(parts):
                hidden[_hidden_folder(parts)] += 1
        elif not is_image(parts) and parts[-1] not in _OF_SYSTEMS:
            others[PurePosixPath(parts[-1]).suffix.lower() or parts[-1]] += 1
    without = Counter(str(PurePosixPath(name).parent) + "/" for name in unlabelled)
    sentences = {
        "Images left out, for a name there begins with a dot": hidden,
        "Files left out that are no images by their names": others,
        "Images left out, for they have no label": without,
    }
    return tuple(f"{why}: {_counted(found)}" for why, found in sentences.items() if found)


def _counted(found: Counter[str]) -> str:
    return some([f"{readable(name)} ({count:,})" for name, count in found.most_common()])


def _hidden_folder(parts: Parts) -> str:
    """The path down to the part that begins with a dot."""
    depth = next(depth for depth, part in enumerate(parts, 1) if part.startswith("."))
    return "/".join(parts[:depth]) + ("/" if depth < len(parts) else "")


def _of_the_system(parts: Parts) -> bool:
    """``._name`` beside each file that a Mac has packed, and folders of tools."""
    return "__MACOSX" in parts or any(part.startswith(("._", ".ipynb_checkpoints", ".git")) for part in parts)
