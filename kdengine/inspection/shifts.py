"""How steady the answers are when the pictures move."""

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
    pictures = torch.cat(list(subject.chunks()))
    labels = torch.from_numpy(subject.pictures.labels).to(pictures.device)
    found: Arrays = {}
    with subject.still():
        for who, network in subject.networks.items():

            def logits_of(x: Tensor, network=network) -> Tensor:  # type: ignore[no-untyped-def]
                return network(x).logits

            rows = steadiness(logits_of, pictures, labels, DIAGONAL)
            found["shift"] = np.asarray([row["shift"] for row in rows], np.float32)
            for what in ("agreement", "logit_change"):
                found[f"{who}_{what}"] = np.asarray([row[what] for row in rows], np.float32)
    return found
