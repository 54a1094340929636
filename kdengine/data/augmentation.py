"""What is done to a training picture, as plain numbers; ``loader`` carries it out."""

from __future__ import annotations

from dataclasses import dataclass

from kdengine.errors import BadInput, Problem


@dataclass(frozen=True)
class Augmentation:
    """The random changes of one view.

    Args:
        crop_padding: black pixels added on each side before a crop of the original size is cut out at a random place;
            0 = no crop.
        flip: whether a picture is mirrored left to right with probability 1/2.

    Raises BadInput when ``crop_padding`` is negative.
    """

    crop_padding: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise BadInput(Problem("crop_padding", f"{self.crop_padding} is negative; give 0 or more pixels"))
