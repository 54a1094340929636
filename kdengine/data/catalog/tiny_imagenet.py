"""Tiny ImageNet from its published zip."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from typing_extensions import override

from kdengine.data.catalog.published import PublishedSet
from kdengine.data.definition import Source
from kdengine.data.sources.containers import Container, ZipContainer
from kdengine.data.sources.download import RemoteFile
from kdengine.data.wording import some
from kdengine.registry import DATASETS
from kdengine.spec.fields import NoSettings

_FOLDER = "tiny-imagenet-200/"
_IDS, _WORDS = _FOLDER + "wnids.txt", _FOLDER + "words.txt"
_ANNOTATIONS = _FOLDER + "val/val_annotations.txt"


class TinyImageNet(PublishedSet):
    """``train/<id>/images/*.JPEG`` to train on; ``val/images``, labelled by ``val_annotations.txt``, as the test part.

    The images in ``test/`` have no published labels and are not read. Classes stand in the order of their WordNet
    ids, under their first word in ``words.txt``. Some images are grey. The publishers give no checksum; this is the
    one that public code checks (Avalanche, among many).
    """

    name = "tiny_imagenet"
    title = "Tiny ImageNet"
    summary = "100,000 + 10,000 colour images, 64x64, of 200 classes of ImageNet; 248 MB download."
    citation = "Le & Yang, Tiny ImageNet Visual Recognition Challenge, Stanford CS 231N, 2015"
    class_count = 200
    counts = (100_000, 10_000)
    default_image_size = 64
    files = (
        RemoteFile(
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de", name, 248_100_043
        ),
    )

    @override
    def open(self, params: NoSettings, root: Path) -> Source:
        (path,) = self.fetch_all(params, root)
        container = ZipContainer(path)
        members = self.members(container, [_IDS, _WORDS, _ANNOTATIONS])
        ids = sorted(words[0] for words in self.rows(members[_IDS], _IDS, 1))
        label = {wnid: number for number, wnid in enumerate(ids)}
        test = []
        for file, wnid, *_ in self.rows(members[_ANNOTATIONS], _ANNOTATIONS, 6):
            if wnid not in label:
                raise self.refusal(path, f"has a test image {file} of the class {wnid}, which {_IDS} lacks")
            test.append((f"{_FOLDER}val/images/{file}", label[wnid]))
        train = [(name, label[wnid]) for wnid, names in self._train(container, ids).items() for name in names]
        return self.image_source(container, _names(ids, members[_WORDS]), train, test)

    def _train(self, container: Container, ids: list[str]) -> dict[str, list[str]]:
        """Training images of each class, in the order of their numbers."""
        found = defaultdict(list)
        for name in container.listing().files:
            parts = name.removeprefix(_FOLDER).split("/")
            if len(parts) == 4 and (parts[0], parts[2]) == ("train", "images"):
                found[parts[1]].append(name)
        if missing := [wnid for wnid in ids if wnid not in found]:
            raise self.refusal(container.path, f"has no training image of the classes {some(missing)}")
        return {wnid: sorted(found[wnid], key=lambda name: (len(name), name)) for wnid in ids}


def _names(ids: list[str], words: bytes) -> list[str]:
    """The first word of each id; with the id behind it where two share a word, the id alone where there is none."""
    lines = (line.split("\t", 1) for line in words.decode("utf-8", "replace").splitlines())
    first = {line[0]: line[1].split(",")[0].strip() for line in lines if len(line) == 2}
    names = [first.get(wnid) or wnid for wnid in ids]
    shared = Counter(names)
    return [f"{name} ({wnid})" if shared[name] > 1 else name for name, wnid in zip(names, ids, strict=True)]


DATASETS.register("tiny_imagenet")(TinyImageNet())
