"""Oxford 102 Flowers from its published archive and MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from typing_extensions import override

from kdengine.data.catalog.published import PublishedSet
from kdengine.data.definition import Source
from kdengine.data.sources.containers import TarContainer
from kdengine.data.sources.download import RemoteFile
from kdengine.data.sources.matlab import read_mat
from kdengine.registry import DATASETS
from kdengine.spec.fields import NoSettings

_ADDRESS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"

# In the order of the labels, as torchvision lists them: the files themselves hold no names.
_NAMES = (
    "pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea, english marigold, tiger lily, moon "
    "orchid, bird of paradise, monkshood, globe thistle, snapdragon, colt's foot, king protea, spear thistle, "
    "yellow iris, globe-flower, purple coneflower, peruvian lily, balloon flower, giant white arum lily, fire "
    "lily, pincushion flower, fritillary, red ginger, grape hyacinth, corn poppy, prince of wales feathers, "
    "stemless gentian, artichoke, sweet william, carnation, garden phlox, love in the mist, mexican aster, alpine "
    "sea holly, ruby-lipped cattleya, cape flower, great masterwort, siam tulip, lenten rose, barbeton daisy, "
    "daffodil, sword lily, poinsettia, bolero deep blue, wallflower, marigold, buttercup, oxeye daisy, common "
    "dandelion, petunia, wild pansy, primula, sunflower, pelargonium, bishop of llandaff, gaura, geranium, orange "
    "dahlia, pink-yellow dahlia?, cautleya spicata, japanese anemone, black-eyed susan, silverbush, californian "
    "poppy, osteospermum, spring crocus, bearded iris, windflower, tree poppy, gazania, azalea, water lily, rose, "
    "thorn apple, morning glory, passion flower, lotus, toad lily, anthurium, frangipani, clematis, hibiscus, "
    "columbine, desert-rose, tree mallow, magnolia, cyclamen, watercress, canna lily, hippeastrum, bee balm, ball "
    "moss, foxglove, bougainvillea, camellia, mallow, mexican petunia, bromelia, blanket flower, trumpet creeper, "
    "blackberry lily"
)


class Flowers102(PublishedSet):
    """``jpg/image_<number>.jpg`` with ``labels`` 1..102 and the numbers of each part; checksums as in torchvision.

    The published training and validation images (10 + 10 a class) are both for training: what is held out for
    validation is carved from them, as from any data set.
    """

    name = "flowers102"
    title = "Oxford 102 Flowers"
    summary = "2,040 + 6,149 images of 102 kinds of flowers, 224 px; 345 MB download."
    citation = "Nilsback & Zisserman, Automated Flower Classification over a Large Number of Classes, ICVGIP 2008"
    class_count = 102
    counts = (2_040, 6_149)
    default_image_size = 224
    classes = tuple(_NAMES.split(", "))
    files = (
        RemoteFile(_ADDRESS + "102flowers.tgz", "52808999861908f626f3c1f4e79d11fa", name, 344_862_509),
        RemoteFile(_ADDRESS + "imagelabels.mat", "e0620be6f572b9609742df49c70aed4d", name, 502),
        RemoteFile(_ADDRESS + "setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c", name, 14_989),
    )

    @override
    def open(self, params: NoSettings, root: Path) -> Source:
        archive, labels_file, parts_file = self.fetch_all(params, root)
        (labels,) = read_mat(labels_file, "labels")
        labels = labels.reshape(-1).astype(np.int64) - 1
        parts = [part.reshape(-1).astype(np.int64) for part in read_mat(parts_file, "trnid", "valid", "tstid")]
        numbers = np.concatenate(parts)
        if not len(numbers) or numbers.min() < 1 or numbers.max() > len(labels):
            raise self.refusal(parts_file, f"names images outside of 1..{len(labels)}, which have a label, or none")
        train, test = (
            [(f"jpg/image_{number:05}.jpg", int(labels[number - 1])) for number in part.tolist()]
            for part in (np.concatenate(parts[:2]), parts[2])
        )
        return self.image_source(TarContainer(archive), self.classes, train, test)


DATASETS.register("flowers102")(Flowers102())
