"""What the published data sets have in common: files known by their checksums, read once they are whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from kdengine.data.decoded_images import is_stored
from kdengine.data.definition import Block, DatasetDefinition, Source
from kdengine.data.sources.containers import Container
from kdengine.data.sources.decoding import Corrupt, decode_files
from kdengine.data.sources.download import RemoteFile, fetch
from kdengine.data.wording import some
from kdengine.errors import DataError

Listed = Sequence[tuple[str, int]]
"""Image files of one part with the label of each, in their order."""


class PublishedSet(DatasetDefinition):
    """A data set that is downloaded.

    Attributes:
        files: the published files; a set whose ``Params`` decide which are needed overrides ``needed``.
    """

    files: ClassVar[tuple[RemoteFile, ...]]

    def needed(self, params: Any) -> tuple[RemoteFile, ...]:
        """The files that settings ask for."""
        return self.files

    @override
    def identity(self, params: Any, root: Path) -> str:
        return "md5:" + ",".join(file.md5 for file in self.needed(params))

    @override
    def present(self, params: Any, root: Path, image_size: int | None = None) -> bool:
        size = image_size or self.default_image_size
        here = all(file.is_here(root) for file in self.needed(params))
        return here or is_stored(root, self.name, self.identity(params, root), size)

    def fetch_all(self, params: Any, root: Path) -> list[Path]:
        """Where the files lie, downloaded when they are not here. Raises DataError as ``fetch`` does."""
        return [fetch(file, root) for file in self.needed(params)]

    def refusal(self, path: Path, what: str) -> DataError:
        """The error that says what is wrong with a file."""
        return DataError(f"{path} {what}; it is not the published archive of {self.title}")

    def members(self, container: Container, names: Iterable[str]) -> dict[str, bytes]:
        """Content of those members. Raises DataError naming the ones that are missing."""
        wanted = set(names)
        found = {}
        for name, content in container.read(wanted):
            found[name] = content
            if len(found) == len(wanted):
                break
        if missing := sorted(wanted - found.keys()):
            raise self.refusal(container.path, f"lacks {some(missing)}")
        return found

    def lines(self, content: bytes, origin: str) -> list[str]:
        """The lines of a text file that are not empty. Raises DataError when it is no text, or empty."""
        try:
            lines = [line.strip() for line in content.decode("utf-8").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise DataError(f"{origin} of {self.title} is no text: {error}") from error
        if not lines:
            raise DataError(f"{origin} of {self.title} is empty; it is not the published file")
        return lines

    def rows(self, content: bytes, origin: str, columns: int) -> list[list[str]]:
        """Those lines in words. Raises DataError when one has another number of words than ``columns``."""
        rows = [line.split() for line in self.lines(content, origin)]
        if wrong := next((row for row in rows if len(row) != columns), None):
            raise DataError(f"{origin} of {self.title} has the line {' '.join(wrong)!r}, expected {columns} words")
        return rows

    def image_source(self, container: Container, classes: Sequence[str], train: Listed, test: Listed) -> Source:
        """The source of image files in an archive, decoded as a stream.

        Raises DataError for labels without a class, a part without images and a file that is listed twice; when it is
        read, for files that are missing or cannot be decoded.
        """
        paths = [path for path, _ in (*train, *test)]
        labels = np.array([label for _, label in (*train, *test)], np.int64)
        if not train or not test:
            raise self.refusal(container.path, f"has {len(train)} training and {len(test)} test images")
        if len(set(paths)) != len(paths):
            raise self.refusal(container.path, "comes with an image that is listed twice")
        if labels.min() < 0 or labels.max() >= len(classes):
            raise self.refusal(container.path, f"comes with labels outside of its {len(classes)} classes")

        def blocks(size: int) -> Iterator[Block]:
            corrupt: Corrupt = []
            yield from decode_files(container, paths, size, corrupt)
            if corrupt:
                shown = some([f"{name} ({reason})" for name, reason in sorted(corrupt)])
                raise self.refusal(container.path, f"lacks {len(corrupt)} image(s) that are listed: {shown}")

        return Source(tuple(classes), labels, len(train), blocks)
