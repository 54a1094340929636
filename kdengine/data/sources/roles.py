"""What a folder's name says of its place: a part of a split, something that lies beside images, or nothing known."""

from __future__ import annotations

import re
from typing import Literal

Role = Literal["train", "test", "validation", "unlabelled", "beside", "wrapper"]

_WORDS: dict[Role, str] = {
    "train": "train training trn trainval 训练 訓練",
    "test": "test testing tst eval evaluation holdout 测试 測試",
    "validation": "val valid validation validate dev development 验证 驗證",
    "unlabelled": "pred predict prediction predictions unlabelled unlabeled",
    "beside": "annotation annotations label labels mask masks trimap trimaps bbox bboxes xml xmls json csv metadata "
    "segmentation segmentations groundtruth gt",
    "wrapper": "data dataset datasets image images img imgs image images photo photos set sets seg split splits "
    "part folder files raw original the my class classes 集 数据 数据集 图片 图像",
}
_ROLE_OF: dict[str, Role] = {word: role for role, words in _WORDS.items() for word in words.split()}
_CAPITAL_AFTER_SMALL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WORD = re.compile(r"[^\W\d_]+")


def role(name: str) -> Role | None:
    """The role of a folder of that name, in any case and usual spelling; None when the name says something else.

    ``Training``, ``seg_train``, ``TestSet``, ``val2017`` and ``训练集`` have one; ``train_station`` has none.
    """
    found = [_role_of_word(word.lower()) for word in _WORD.findall(_CAPITAL_AFTER_SMALL.sub(" ", name))]
    if not found or None in found:
        return None
    telling = {one for one in found if one != "wrapper"}
    if not telling:
        return "wrapper"
    return telling.pop() if len(telling) == 1 else None


def _role_of_word(word: str) -> Role | None:
    """Also of words written as one: ``trainset``, ``testimages``, ``测试集``."""
    if word in _ROLE_OF:
        return _ROLE_OF[word]
    for cut in range(1, len(word)):
        pair = {_ROLE_OF.get(word[:cut]), _ROLE_OF.get(word[cut:])}
        if "wrapper" in pair and None not in pair:
            return (pair - {"wrapper"} or pair).pop()
    return None
