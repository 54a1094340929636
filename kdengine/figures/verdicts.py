"""What a network takes an image for, in words: class, confidence, right or wrong."""

from __future__ import annotations

from dataclasses import dataclass

from kdengine.figures.seen import WHO, Seen

MARKS = {True: "✓", False: "✗", None: "?"}
WORDS = {True: "right", False: "wrong", None: "unknown"}


@dataclass(frozen=True)
class Verdict:
    """One prediction.

    Attributes:
        who: "student" or "teacher".
        predicted: name of the class.
        confidence: 0..1.
        right: None where nobody knows the class of the image.
    """

    who: str
    predicted: str
    confidence: float
    right: bool | None

    @property
    def words(self) -> str:
        """``✓ student: cat 93 %``."""
        return f"{MARKS[self.right]} {self.who}: {self.predicted} {100 * self.confidence:.0f} %"


def of(run: Seen, number: int) -> list[Verdict]:
    """The predictions of student and teacher for an image; [] where nobody knows them."""
    found = []
    for who in WHO:
        if who not in run.predictions:
            continue
        predicted = int(run.predictions[who][number])
        label = int(run.labels[number])
        right = None if label < 0 else predicted == label
        name = run.classes[predicted] if predicted < len(run.classes) else str(predicted)
        found.append(Verdict(who, name, float(run.predictions[f"{who}_confidence"][number]), right))
    return found


def is_wrong(run: Seen, number: int, who: str) -> bool:
    """Whether a network is known to take an image for another class."""
    return any(each.who == who and each.right is False for each in of(run, number))
