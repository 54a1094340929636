"""What is done to a training image, as plain numbers; ``draws`` and ``views`` carry it out."""

from __future__ import annotations

from dataclasses import dataclass

from kdengine.errors import BadInput, Problem


@dataclass(frozen=True)
class Augmentation:
    """The random changes of one view.

    Args:
        crop_padding: black pixels added on each side before a crop of the original size is cut out at a random place;
            0 = no crop.
        flip: whether an image is mirrored left to right with probability 1/2.
        resized_crop: smallest share of the area that a window of aspect 3/4..4/3 has, which is cut out at a random
            place and resized to the whole image, bilinearly; 0 = off. In the place of ``crop_padding``.
        rotation: an image is turned about its centre by an angle of -rotation..rotation degrees, bilinearly, black
            where nothing was; 0 = off.
        cutout: side in pixels of a square that is blanked to the mean, its centre anywhere in the image; 0 = off.

    Raises BadInput naming every value out of range.
    """

    crop_padding: int = 0
    flip: bool = False
    resized_crop: float = 0.0
    rotation: float = 0.0
    cutout: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.crop_padding < 0:
            problems.append(Problem("crop_padding", f"{self.crop_padding} is negative; give 0 or more pixels"))
        if not 0 <= self.resized_crop <= 1:
            problems.append(Problem("resized_crop", f"{self.resized_crop:g} is no share of the area; give 0 to 1"))
        elif self.resized_crop and self.crop_padding:
            problems.append(Problem("resized_crop", "takes the place of crop_padding; give one of the two"))
        if not 0 <= self.rotation <= 180:
            problems.append(Problem("rotation", f"{self.rotation:g} degrees; give 0 to 180"))
        if self.cutout < 0:
            problems.append(Problem("cutout", f"{self.cutout} is negative; give 0 or more pixels"))
        if problems:
            raise BadInput(problems)

    @property
    def view_count(self) -> int | None:
        """How many different views of an image there are; None for views that are drawn anew each time."""
        if self.resamples or self.cutout:
            return None
        return (2 * self.crop_padding + 1) ** 2 * (2 if self.flip else 1)

    @property
    def resamples(self) -> bool:
        """Whether an image is interpolated, not just cut out."""
        return bool(self.resized_crop or self.rotation)
