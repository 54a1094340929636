"""Oxford-IIIT Pet from its two published archives."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from kdengine.data.catalog.published import PublishedSet
from kdengine.data.definition import Source
from kdengine.data.sources.containers import TarContainer
from kdengine.data.sources.download import RemoteFile
from kdengine.data.wording import some
from kdengine.errors import DataError
from kdengine.registry import DATASETS
from kdengine.spec.fields import NoSettings

_ADDRESS = "https://www.robots.ox.ac.uk/~vgg/data/pets/data/"
_TRAIN, _TEST = "annotations/trainval.txt", "annotations/test.txt"


class OxfordPets(PublishedSet):
    """``images/<breed>_<number>.jpg``; two lists of ``<breed>_<number> <label> <species> <number>``, labels 1..37.

    Checksums are torchvision's. Some files are named .jpg and hold another format, which their content shows.
    """

    name = "oxford_pets"
    title = "Oxford-IIIT Pet"
    summary = "3,680 + 3,669 images of 37 breeds of cats and dogs, 224 px; 811 MB download."
    citation = "Parkhi, Vedaldi, Zisserman & Jawahar, Cats and Dogs, CVPR 2012"
    class_count = 37
    counts = (3_680, 3_669)
    default_image_size = 224
    files = (
        RemoteFile(_ADDRESS + "images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c", name, 791_918_971),
        RemoteFile(_ADDRESS + "annotations.tar.gz", "95a8c909bbe2e81eed6a22bccdf3f68f", name, 19_173_078),
    )

    @override
    def open(self, params: NoSettings, root: Path) -> Source:
        images, annotations = self.fetch_all(params, root)
        members = self.members(TarContainer(annotations), [_TRAIN, _TEST])
        train, test = (
            [(row[0], self._label(row[1], name)) for row in self.rows(members[name], name, 4)]
            for name in (_TRAIN, _TEST)
        )
        breeds = {label: _breed(image) for image, label in train}
        wrong = [image for image, label in (*train, *test) if breeds.get(label) != _breed(image)]
        if wrong or sorted(breeds) != list(range(len(breeds))):
            raise self.refusal(annotations, f"has breeds and labels that do not belong together: {some(wrong)}")
        classes = [breeds[label] for label in range(len(breeds))]
        listed = ([(f"images/{image}.jpg", label) for image, label in part] for part in (train, test))
        return self.image_source(TarContainer(images), classes, *listed)

    def _label(self, word: str, origin: str) -> int:
        if not word.isdecimal():
            raise DataError(f"{origin} of {self.title} has the label {word!r}, expected a number")
        return int(word) - 1


def _breed(image: str) -> str:
    """``american_bulldog_100`` -> ``American Bulldog``."""
    return image.rpartition("_")[0].replace("_", " ").title()


DATASETS.register("oxford_pets")(OxfordPets())
