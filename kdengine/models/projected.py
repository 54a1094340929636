"""A student that ends in another net's classifier: its body, a projector, and a linear layer taken from a teacher."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from kdengine.errors import KdError
from kdengine.models.backbone import Backbone, Outputs
from kdengine.models.blocks.projector import Projector

KIND = "projected"


class ProjectedBackbone(Backbone):
    """Body, projector on its last map (or on its embedding, where it has no maps), mean over places, classifier.

    The parts are shared with whoever made them, not copied: training them trains this. ``stages`` are the body's, the
    embedding is the projected one. The body's own last linear layer stays, unused, so that the body is complete.

    Args:
        student: the net whose classifier is replaced.
        projector: from its last map to the features that the classifier reads.
        classifier: (D', classes).
        added: what `rebuild` needs, in plain types, for the model card.
    """

    def __init__(self, student: Backbone, projector: Projector, classifier: nn.Linear, added: dict[str, Any]) -> None:
        body = nn.ModuleDict({"student": student, "projector": projector, "classifier": classifier})
        super().__init__(body, student.name, student.image_size)
        self.added = added

    @property
    @override
    def classifier(self) -> nn.Linear:
        found: nn.Linear = self.body["classifier"]  # type: ignore[index]
        return found

    @override
    def forward(self, x: Tensor) -> Outputs:
        own: Outputs = self.body["student"](x)  # type: ignore[index]
        embedding = self.body["projector"](last_map(own)).mean(dim=(2, 3))  # type: ignore[index]
        return Outputs(self.classifier(embedding), embedding, own.stages)


def last_map(outputs: Outputs) -> Tensor:
    """The deepest map (B, C, H, W); of a body without maps its embedding as a map of one place."""
    return outputs.stages[-1] if outputs.stages else outputs.embedding[:, :, None, None]


def describe(projector: Projector, classifier: nn.Linear, channels: int, factor: int, relu: bool) -> dict[str, Any]:
    """What the model card says of the added parts."""
    return {
        "kind": KIND,
        "channels": channels,
        "features": classifier.in_features,
        "classes": classifier.out_features,
        "side": list(projector.side),
        "factor": factor,
        "relu": relu,
    }


def rebuild(student: Backbone, added: dict[str, Any]) -> ProjectedBackbone:
    """The net of a model card, its weights not yet loaded; raises KdError for parts of a kind that is not known."""
    if added.get("kind") != KIND:
        kind = added.get("kind")
        raise KdError(f"the model card adds parts of the kind {kind!r}; this version knows {KIND!r}")
    side = added["side"][0], added["side"][1]
    projector = Projector(added["channels"], added["features"], side, added["factor"], added["relu"])
    return ProjectedBackbone(student, projector, nn.Linear(added["features"], added["classes"]), added)
