"""MIT Indoor 67 from its published archive and the two lists beside it."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from kdengine.data.catalog.published import PublishedSet
from kdengine.data.definition import Source
from kdengine.data.sources.containers import TarContainer
from kdengine.data.sources.download import RemoteFile
from kdengine.data.wording import some
from kdengine.registry import DATASETS
from kdengine.spec.fields import NoSettings

_LISTS = "http://web.mit.edu/torralba/www/"


class Mit67(PublishedSet):
    """``Images/<class>/<image>``; which of them are for training and for test, ``TrainImages.txt`` and
    ``TestImages.txt`` say, about 80 and 20 a class; the other 8,920 are not used.

    Some files are named .jpg and hold another format, which their content shows. The publishers give no checksums:
    these were found in one public repository only (the class Indoor09 of a collection of vision data sets), so the
    lists are checked against each other and against the archive as well. The archive's address may be gone; it can be
    placed by hand.
    """

    name = "mit67"
    title = "MIT Indoor 67"
    summary = "5,360 + 1,340 images of 67 kinds of rooms and places indoors, 224 px; 2.4 GB download."
    citation = "Quattoni & Torralba, Recognizing Indoor Scenes, CVPR 2009"
    class_count = 67
    counts = (5_360, 1_340)
    default_image_size = 224
    files = (
        RemoteFile(
            "http://groups.csail.mit.edu/vision/LabelMe/NewImages/indoorCVPR_09.tar",
            "5d176e5f0e56624a453f2fe0d8b19ff7",
            name,
        ),
        RemoteFile(_LISTS + "TrainImages.txt", "fd987513d0f623c424252770fac3f354", name),
        RemoteFile(_LISTS + "TestImages.txt", "f00bef137f39d51e4894303a7bf4c2d4", name),
    )

    @override
    def open(self, params: NoSettings, root: Path) -> Source:
        archive, *lists = self.fetch_all(params, root)
        train, test = (self.lines(path.read_bytes(), path.name) for path in lists)
        classes = sorted({_folder(name) for name in train})
        if strange := sorted({_folder(name) for name in test} ^ set(classes)):
            raise self.refusal(lists[1], f"has other classes than {lists[0].name}: {some(strange)}")
        label = {name: number for number, name in enumerate(classes)}
        listed = ([(f"Images/{name}", label[_folder(name)]) for name in part] for part in (train, test))
        return self.image_source(TarContainer(archive), [name.replace("_", " ") for name in classes], *listed)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


DATASETS.register("mit67")(Mit67())
