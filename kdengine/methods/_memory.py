"""What methods remember of each training image: how large it may get."""

from __future__ import annotations

from kdengine.errors import BadInput, Problem

MAX_BYTES = 4 << 30
"""Tables above this size are refused: they would fill a usual GPU, and every checkpoint holds them too."""


def check_memory(method: str, samples: int, numbers: int, smaller: str) -> None:
    """Raises BadInput when float32 tables of that many numbers a sample would exceed `MAX_BYTES`.

    Args:
        method: name of the method.
        samples: training images.
        numbers: float32 numbers kept of each.
        smaller: what makes it smaller, for the message.
    """
    needed = samples * numbers * 4
    if needed > MAX_BYTES:
        message = (
            f"{method} remembers {numbers} numbers of each of the {samples} training images, "
            f"{needed / 2**30:.1f} GB; at most {MAX_BYTES >> 30} GB are allowed: {smaller}"
        )
        raise BadInput(Problem("method", message))
