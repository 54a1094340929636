"""Caltech-UCSD Birds-200-2011 from its published archive."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from kdengine.data.catalog.published import PublishedSet
from kdengine.data.definition import Source
from kdengine.data.sources.containers import TarContainer
from kdengine.data.sources.download import RemoteFile
from kdengine.registry import DATASETS
from kdengine.spec.fields import NoSettings

_FOLDER = "CUB_200_2011/"
_CLASSES, _IMAGES, _LABELS, _SPLIT = (
    _FOLDER + file for file in ("classes.txt", "images.txt", "image_class_labels.txt", "train_test_split.txt")
)


class Cub200(PublishedSet):
    """Birds, split as published (1 = training in ``train_test_split.txt``), whole images without their boxes.

    The checksum is the one CaltechDATA shows beside the file and public code checks.
    """

    name = "cub200"
    title = "CUB-200-2011"
    summary = "5,994 + 5,794 images of 200 kinds of birds, 224 px; 1.2 GB download."
    citation = "Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001"
    class_count = 200
    counts = (5_994, 5_794)
    default_image_size = 224
    files = (
        RemoteFile(
            "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
            "97eceeb196236b17998738112f37df78",
            name,
            1_150_585_339,
        ),
    )

    @override
    def open(self, params: NoSettings, root: Path) -> Source:
        (path,) = self.fetch_all(params, root)
        container = TarContainer(path)
        members = self.members(container, [_CLASSES, _IMAGES, _LABELS, _SPLIT])
        classes, images, labels, split = (
            {row[0]: row[1] for row in self.rows(members[name], name, 2)}
            for name in (_CLASSES, _IMAGES, _LABELS, _SPLIT)
        )
        if not images.keys() == labels.keys() == split.keys() or not set(labels.values()) <= classes.keys():
            raise self.refusal(path, "has lists of images, labels and parts that do not belong together")
        label = {number: position for position, number in enumerate(classes)}
        parts: dict[str, list[tuple[str, int]]] = {"1": [], "0": []}
        for number, name in images.items():
            if split[number] not in parts:
                raise self.refusal(path, f"has neither 1 nor 0 in {_SPLIT} but {split[number]!r}")
            parts[split[number]].append((f"{_FOLDER}images/{name}", label[labels[number]]))
        return self.image_source(container, [_plain(name) for name in classes.values()], parts["1"], parts["0"])


def _plain(name: str) -> str:
    """``001.Black_footed_Albatross`` -> ``Black footed Albatross``."""
    return name.split(".", 1)[-1].replace("_", " ")


DATASETS.register("cub200")(Cub200())
