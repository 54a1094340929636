"""One's own images: a folder, zip or tar with one folder a class."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator
from pydantic_core import PydanticCustomError
from typing_extensions import override

from kdengine.data.definition import Block, DatasetDefinition, Source
from kdengine.data.sources.containers import Container, open_container
from kdengine.data.sources.decoding import Corrupt, decode_files
from kdengine.data.sources.layout import find_layout
from kdengine.data.sources.names import is_text, readable
from kdengine.errors import DataError
from kdengine.registry import DATASETS
from kdengine.spec.fields import Settings, at_neutral, setting

log = logging.getLogger(__name__)


class FolderParams(Settings):
    """What a person says of their own images."""

    path: str = setting(
        ...,
        title="Folder or archive",
        description="A folder, .zip or .tar(.gz, .xz, .bz2) with <train|test>/<class>/ or <class>/ alone.",
        min_length=1,
    )
    on_corrupt: Literal["refuse", "skip"] = setting(
        "refuse",
        title="Corrupt images",
        description="Whether an image that cannot be read stops everything, or is left out and counted.",
        source="our choice",
    )
    layout: Literal["auto", "classes"] = setting(
        "auto",
        title="Folders",
        neutral="auto",
        description="auto finds train and test folders by their names and refuses what may be either; classes takes "
        "every top folder for a class, whatever its name.",
        source="our choice",
    )
    transparent: Literal["dropped", "white", "black"] = setting(
        "dropped",
        title="Transparent parts",
        neutral="dropped",
        description="Laid on white or black; dropped takes the colours that a file keeps beneath them, often black.",
        source="our choice: the rule of earlier versions",
    )
    split: Literal["image", "position"] = setting(
        "image",
        title="Split by",
        neutral="position",
        advanced=True,
        description="image draws by each image's name, so that images that come later move none of the others; "
        "position is the rule of earlier versions, under which they move.",
        source="our choice",
    )

    @field_validator("path", mode="before")
    @classmethod
    def _check_path(cls, path: Any) -> Any:
        if isinstance(path, str) and not is_text(path):
            raise PydanticCustomError(
                "path", "the name is not UTF-8, which no spec can hold; rename the file or folder"
            )
        return path


class Folder(DatasetDefinition):
    """``<train|test>/<class>/*`` or ``<class>/*``; of the latter a stratified fifth is the test part."""

    name = "folder"
    title = "Own images"
    summary = "Your own images (jpg, png, bmp, webp, gif, tiff, ppm) in a folder, zip or tar, one folder a class."
    citation = ""
    Params = FolderParams
    reading = 3  # 2: knows the usual names of splits, and refuses what may be one; 3: takes tiff, ppm and rare endings

    @override
    def identity(self, params: FolderParams, root: Path) -> str:
        # What came later and is neutral stays out: stores of before keep their place.
        settings = params.model_dump(exclude={"path", *at_neutral(params)})
        words = (f"{name}={value}" for name, value in settings.items())
        return " ".join((_container(params).identity(), *words))

    @override
    def open(self, params: FolderParams, root: Path) -> Source:
        container = _container(params)
        by_image = params.split == "image"
        layout = find_layout(container.listing(), container.name, params.layout, by_image)
        for sentence in layout.left_out:
            log.info("%s: %s", container.name, sentence)

        def blocks(size: int) -> Iterator[Block]:
            corrupt: Corrupt = []
            yield from decode_files(container, layout.paths, size, corrupt, params.transparent)
            if corrupt:
                _report(corrupt, params, container)

        return Source(layout.classes, layout.labels, layout.train_count, blocks, layout.keys if by_image else None)


def _container(params: FolderParams) -> Container:
    return open_container(Path(params.path).expanduser())


def _report(corrupt: Corrupt, params: FolderParams, container: Container) -> None:
    """Refuses corrupt images, or logs that they were left out, as the person asked."""
    shown = "\n".join(f"  {readable(name)}: {reason}" for name, reason in sorted(corrupt)[:10])
    more = f"\n  ... and {len(corrupt) - 10} more" if len(corrupt) > 10 else ""
    if params.on_corrupt == "skip":
        log.warning("%s: %d corrupt image(s) were left out:\n%s%s", container.name, len(corrupt), shown, more)
        return
    raise DataError(
        f"{container.name} holds {len(corrupt)} corrupt image(s):\n{shown}{more}\n"
        "repair or remove them, or leave them out with on_corrupt=skip"
    )


DATASETS.register("folder")(Folder())
