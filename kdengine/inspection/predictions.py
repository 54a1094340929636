"""What each network takes each image for, and how sure it is."""

from __future__ import annotations

from kdengine.inspection.subject import Arrays, Subject, on_host


def predictions(subject: Subject) -> Arrays:
    """Of student and teacher: ``<who>`` int64 (N,), the predicted class, and ``<who>_confidence`` (N,), 0..1."""
    found: Arrays = {}
    for who, outputs in subject.outputs.items():
        confidence, predicted = outputs.logits.double().softmax(1).max(1)
        found |= {who: on_host(predicted), f"{who}_confidence": on_host(confidence)}
    return found
