"""Names of files and classes as people read them, whatever bytes the packer wrote."""

from __future__ import annotations

import re
from unicodedata import category

# Names of Chinese zips and tars made outside UTF-8. Its double bytes are both above 0xA0, so that a European name is
# hardly ever taken for one; GBK, which is larger, takes "Zürich" of latin-1 for Chinese.
_CHINESE = "gb2312"
_BETWEEN = re.compile(rb"([/\\])")


def decoded(raw: bytes, otherwise: str) -> str:
    """The name in those bytes, part by part: UTF-8 where it is valid, else Chinese, else the codec ``otherwise``.

    Part by part, so that a class has one name in all paths that lead through it.
    """
    return "".join(_part(part, otherwise) for part in _BETWEEN.split(raw))


def readable(name: str) -> str:
    """A name for people and files: what was no UTF-8 is decoded, control characters are escaped; else unchanged."""
    if not is_text(name):
        name = decoded(name.encode("utf-8", "surrogateescape"), "latin-1")
    return "".join(sign.encode("unicode_escape").decode() if category(sign) == "Cc" else sign for sign in name)


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8; the system gives those that cannot be with half characters in them."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _part(part: bytes, otherwise: str) -> str:
    for codec in ("utf-8", _CHINESE):
        try:
            return part.decode(codec)
        except UnicodeDecodeError:
            continue
    return part.decode(otherwise, "backslashreplace")
