"""What each open page asked last, so that work for what it asked before can end."""

from __future__ import annotations

from collections import OrderedDict


class Latest:
    """The last text of each place; of many places those that asked last."""

    MAX_PLACES = 256

    def __init__(self) -> None:
        self._texts: OrderedDict[str, str] = OrderedDict()

    def note(self, place: str, text: str) -> None:
        """That this was asked."""
        self._texts[place] = text
        self._texts.move_to_end(place)
        while len(self._texts) > self.MAX_PLACES:
            self._texts.popitem(last=False)

    def overtaken(self, place: str, text: str) -> bool:
        """Whether something else was asked since; False for a place that is not known any more."""
        return self._texts.get(place, text) != text
