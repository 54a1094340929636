"""How steady the predictions are when the images move."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kdengine.evaluation.steadiness import DIAGONAL, steadiness
from kdengine.inspection.subject import Arrays, Subject


def shift_curves(subject: Subject) -> Arrays:
    """``shift`` (K,) in pixels, and per network ``<who>_agreement`` and ``<who>_logit_change`` (K,) of each shift.

    A shift goes as far to the right as downwards.
    """
    images = torch.cat(list(subject.chunks()))
    labels = torch.from_numpy(subject.images.labels).to(images.device)
    found: Arrays = {}
    with subject.still():
        for who, network in subject.networks.items():

            def logits_of(x: Tensor, network=network) -> Tensor:  # type: ignore[no-untyped-def]
                found: Tensor = network(x).logits
                return found

            rows = steadiness(logits_of, images, labels, DIAGONAL)
            found["shift"] = np.asarray([row["shift"] for row in rows], np.float32)
            for what in ("agreement", "logit_change"):
                found[f"{who}_{what}"] = np.asarray([row[what] for row in rows], np.float32)
    return found
