"""Names of files and classes as people read them, whatever bytes the packer wrote."""

from __future__ import annotations

import re
from unicodedata import category
from unicodedata import name as unicode_name

# Names of Chinese zips and tars made outside UTF-8. Its double bytes are both above 0xA0, so that a European name is
# hardly ever taken for one; GBK, which is larger, takes "Zürich" of latin-1 for Chinese.
_CHINESE = "gb2312"
# What GB 2312 lacks (traditional signs, rare ones of names) is taken for Chinese where GBK makes nothing but such signs
# of the name, one of them at least of two bytes above 0x7F: of European letters no two stand side by side, or hardly.
_MORE_CHINESE = "gbk"
_IDEOGRAPH = ("CJK UNIFIED", "FULLWIDTH", "IDEOGRAPHIC")
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
    return _more_chinese(part) or part.decode(otherwise, "backslashreplace")


def _more_chinese(part: bytes) -> str:
    """The name in signs of GBK; "" where it is hardly meant."""
    try:
        name = part.decode(_MORE_CHINESE)
    except UnicodeDecodeError:
        return ""
    signs = [sign for sign in name if not sign.isascii()]
    wide = [sign for sign in signs if sign.encode(_MORE_CHINESE)[-1] > 0x7F]
    return name if wide and all(unicode_name(sign, "").startswith(_IDEOGRAPH) for sign in signs) else ""
