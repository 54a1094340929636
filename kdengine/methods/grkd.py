"""Graph-based representation distillation (GRKD): a graph over the batch, and learning what to learn from it.

Yang, Chen, Zhao, An, Xu: Acta Electronica Sinica 2024, 52(10):3435-3447. Only the abstract is public: a graph network
over the sample set, node and relation graph distillation losses, meta-learning that guides the student to learn better
graph representations from the teacher. All the rest here is our choice, drawn from the first author's public code
(winycg/L-MCL: weight network, meta updates every 50 steps), from HKD and from L2T-ww; each is a parameter. Both
readings of the meta-learning are there: weights of the samples, or the teacher's graph, learn from the student's own
progress.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from kdengine.losses import kd
from kdengine.losses.graph import node_alignment, relation_divergence
from kdengine.losses.relations import in_groups
from kdengine.methods._hypergradient import Weights, hyper_gradient
from kdengine.methods._settings import group_setting, temperature_setting, weight_setting
from kdengine.methods._stages import pair_stages
from kdengine.methods._taught import TaughtMethod
from kdengine.methods.base import BatchLike, Context, InspectedArray, Needs, Network, StepContext, Term, register
from kdengine.models.backbone import Backbone, Outputs
from kdengine.models.blocks.graph_network import GraphNetwork, SampleGraph, SampleWeights
from kdengine.optimizers import Adam
from kdengine.spec.fields import Settings, setting


class GrkdParams(Settings):
    """Parameters of graph-based distillation."""

    node_weight: float = weight_setting(
        title="Node weight", description="Weight of the gap between a sample's nodes in the two graphs.",
        source="our choice", tune=(0.1, 10.0),
    )  # fmt: skip
    relation_weight: float = weight_setting(
        title="Relation weight", description="Weight of how differently the two graphs relate a sample to others.",
        source="our choice", tune=(0.1, 10.0),
    )  # fmt: skip
    kd_weight: float = weight_setting(
        title="Teacher weight", description="Weight of plain soft-target distillation beside it; 0 leaves it out.",
        source="our choice; HKD is reported with and without", tune=(0.1, 10.0),
    )  # fmt: skip
    temperature: float = temperature_setting(
        description="Softens the logits of both networks in plain distillation.", source="RepDistiller and mdistiller"
    )
    graph_weight: float = weight_setting(
        title="Graph label weight", description="Weight of the cross-entropy of the student's graph classifier.",
        source="our choice", tune=(0.1, 10.0), advanced=True,
    )  # fmt: skip
    graph_temperature: float = setting(
        0.2, title="Graph temperature", description="Low: each sample sees itself only; high: all are averaged.",
        source="our choice: 0.1 makes the graph of unlike samples the identity, 0.5 averages them", gt=0, le=10,
        tune=(0.1, 0.5), log=True, when={"neighbours": (0,)},
    )  # fmt: skip
    neighbours: int = setting(
        0, title="Neighbours", description="Link each sample with so many others; 0 = with all, by temperature.",
        source="our choice; HKD uses 8", ge=0, le=4096, advanced=True,
    )  # fmt: skip
    group: int = group_setting(
        description="Draw graphs over at most so many samples of a batch; larger batches are split.",
        source="our choice; the batch of the field's recipes",
    )
    relation_temperature: float = setting(
        0.1, title="Relation temperature", description="Softens how a sample relates to the others.",
        source="MCL and L-MCL", gt=0, le=10, tune=(0.05, 0.5), log=True,
    )  # fmt: skip
    width: int = setting(
        128, title="Graph width", description="Width of projections and nodes.", source="L-MCL, HKD", ge=4, le=4096,
        advanced=True,
    )  # fmt: skip
    attach: Literal["embedding", "stages"] = setting(
        "embedding", title="Attach to", advanced=True, source="our choice; L-MCL attaches to all stages",
        description="Draw graphs from the last features only, or also from the pooled maps of paired stages.",
    )  # fmt: skip
    balanced: bool = setting(
        True, title="Class-balanced batches", advanced=True, source="L-MCL's class sampler",
        description="Put several images of a class into each batch, so that a graph has something to show.",
    )  # fmt: skip
    first_stage: int = setting(
        5, title="First stage", unit="epochs", advanced=True, source="our choice", ge=0, le=1000,
        description="Epochs in which the teacher's graph learns the labels before the student starts.",
    )  # fmt: skip
    first_stage_lr: float = setting(
        0.005, title="First-stage rate", advanced=True, source="our choice", gt=0, le=1,
        description="Adam's learning rate in the first stage.",
    )  # fmt: skip
    meta: Literal["weights", "teacher_graph", "both", "off"] = setting(
        "weights", title="Meta-learning", source="our choice: the abstract fits both readings",
        description="What learns from the student's progress: weights of the samples, the teacher's graph, both, none.",
    )  # fmt: skip
    meta_every: int = setting(
        50, title="Meta frequency", unit="steps", source="L-MCL on CIFAR", ge=1, le=100000, tune=(5, 200), log=True,
        when={"meta": ("weights", "teacher_graph", "both")},
        description="Steps between two meta updates; each costs about six plain steps for every inner step.",
    )  # fmt: skip
    inner_steps: int = setting(
        2, title="Inner steps", source="L2T-ww and L-MCL", ge=1, le=20, advanced=True,
        description="Look-ahead steps on the graph losses, before one on the labels.",
    )  # fmt: skip
    inner_rate: float = setting(
        1.0, title="Inner rate", source="L-MCL: the net's own rate", gt=0, le=100, advanced=True,
        description="Length of a look-ahead step as a multiple of the current learning rate.",
    )  # fmt: skip
    meta_rate: float = setting(
        1e-3, title="Meta rate", source="our choice; L2T-ww uses 1e-4 over far more steps", gt=0, le=1,
        tune=(1e-4, 1e-2), log=True, advanced=True, description="Adam's learning rate for what is meta-learnt.",
        when={"meta": ("weights", "teacher_graph", "both")},
    )  # fmt: skip
    meta_pictures: int = setting(
        64, title="Meta images", source="our choice", ge=2, le=65536, advanced=True,
        description="At most so many images of a batch enter a look-ahead: its memory grows with them.",
    )  # fmt: skip
    meta_data: Literal["held_out", "train", "same_batch"] = setting(
        "train", title="Meta images from", source="our choice, by validation on digits; L-MCL: the same batch",
        description="Judge the look-ahead on images held out for it, on another training batch, or on its own batch.",
        advanced=True,
    )  # fmt: skip
    meta_share: float = setting(
        0.1, title="Held-out share", source="our choice", ge=0.01, le=0.5, advanced=True,
        description="Share of the training images that is held out to judge the look-ahead.",
    )  # fmt: skip


@register
class GraphDistillation(TaughtMethod):
    """CE + g CE_graph + k KD + n mean w_i (1 - cos(H_S,i, H_T,i)) + r mean v_i KL(R_T,i || R_S,i); w, v meta-learnt."""

    name = "grkd"
    title = "Graph over samples (GRKD)"
    description = (
        "A graph network links the samples of each batch; the student copies nodes and links of the teacher's graph, "
        "and meta-learning decides which samples count."
    )
    when = "Where relations between images matter and the time of meta-learning can be paid for."
    paper = "Yang, Chen, Zhao, An, Xu: Graph-based Representation Knowledge Distillation, Acta Electronica Sinica 2024"
    family = "relations"
    Params = GrkdParams
    captions = {  # noqa: RUF012
        "node_weight": "how much the meta-network lets be learnt from this image",
        "relation_weight": "and from its relations",
    }
    params: GrkdParams

    def __init__(self, params: GrkdParams, context: Context) -> None:
        super().__init__(params, context)
        student, teacher = context.student, self.teacher_shapes
        pairs = pair_stages(student, teacher) if params.attach == "stages" else []
        self.stages = [(pair.student, pair.teacher) for pair in pairs]
        widths = [(student.stages[s][0], teacher.stages[t][0]) for s, t in self.stages]
        widths.append((student.embedding, teacher.embedding))

        def network(features: int) -> GraphNetwork:
            return GraphNetwork(features, context.classes, params.width, params.graph_temperature, params.neighbours)

        self.student_graphs = nn.ModuleList(network(width) for width, _ in widths)
        self.teacher_graphs = nn.ModuleList(network(width) for _, width in widths)
        self.sample_weights = SampleWeights(*widths[-1], losses=2)
        learnt = self.meta_parameters()
        self.meta_optimizer = Adam(learnt, lr=params.meta_rate, betas=(0.5, 0.999)) if learnt else None

    @classmethod
    def requires(cls, params: GrkdParams) -> Needs:
        """Features of both nets; class-balanced batches; images held out for the meta-learning."""
        outputs = ("logits", "embedding", "stages") if params.attach == "stages" else ("logits", "embedding")
        held_out = params.meta != "off" and params.meta_data == "held_out"
        return Needs(
            teacher=outputs,
            student=outputs,
            sampler="class-balanced" if params.balanced else "uniform",
            meta=params.meta_share if held_out else 0.0,
            meta_from_train=params.meta != "off" and params.meta_data == "train",
            batch_relations="draws a graph over the images of a batch",
        )

    def loss_terms(self, student: Outputs, teacher: Outputs, batch: BatchLike, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce``, ``graph_ce``, ``kd`` (where it has a weight), ``node`` and ``relation``."""
        params = self.params
        with torch.no_grad():
            weights = [weight for weight in self._weights(student.embedding, teacher.embedding) if weight is not None]
        features = [*self._features(student, teacher_side=False), *self._features(teacher, teacher_side=True)]
        labels, node, relation = in_groups(self._graph_losses, params.group, batch.target, *features, *weights)
        terms = {
            "ce": Term(self.cross_entropy(student.logits, batch.target), 1.0),
            "graph_ce": Term(labels, params.graph_weight),
            "node": Term(node, params.node_weight),
            "relation": Term(relation, params.relation_weight),
        }
        if params.kd_weight:
            terms["kd"] = Term(kd(student.logits, teacher.logits, params.temperature), params.kd_weight)
        return terms

    # the two graphs ------------------------------------------------------------------------------------------------

    def _features(self, outputs: Outputs, teacher_side: bool) -> list[Tensor]:
        """One vector a sample for each place a graph is built on, each (B, D)."""
        pooled = [outputs.stages[pair[int(teacher_side)]].mean(dim=(2, 3)) for pair in self.stages]
        return [*pooled, outputs.embedding]

    @staticmethod
    def _graphs(networks: nn.ModuleList, features: list[Tensor]) -> list[SampleGraph]:
        return [network(vectors) for network, vectors in zip(networks, features, strict=True)]

    def _graph_losses(self, target: Tensor, *parts: Tensor) -> Tensor:
        """Label, node and relation loss, (3,), of samples with these features of the student, the teacher, weights."""
        places = len(self.student_graphs)
        of_student, of_teacher = parts[:places], parts[places : 2 * places]
        weights = parts[2 * places :] or (None, None)
        with torch.no_grad():
            wanted = self._graphs(self.teacher_graphs, list(of_teacher))
        graphs = self._graphs(self.student_graphs, list(of_student))
        return torch.stack([self._graph_labels(graphs, target).mean(), *self._matching(graphs, wanted, *weights)])

    def _graph_labels(self, graphs: list[SampleGraph], target: Tensor) -> Tensor:
        """Cross-entropy of the classifier of each graph, (places,)."""
        return torch.stack([self.cross_entropy(graph.logits, target) for graph in graphs])

    def _weights(self, student: Tensor, teacher: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Weight of each sample in the node and in the relation loss; None for all one."""
        if self.params.meta not in ("weights", "both"):
            return None, None
        node, relation = self.sample_weights(student, teacher)
        return node, relation

    def _matching(
        self, student: list[SampleGraph], teacher: list[SampleGraph], node: Tensor | None, relation: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Node and relation loss, means over the places a graph is built on."""
        pairs = list(zip(student, teacher, strict=True))
        nodes = [node_alignment(s.nodes, t.nodes, node) for s, t in pairs]
        relations = [
            relation_divergence(s.nodes, t.nodes, self.params.relation_temperature, relation) for s, t in pairs
        ]
        return torch.stack(nodes).mean(), torch.stack(relations).mean()

    # what the loop asks --------------------------------------------------------------------------------------------

    def param_groups(self) -> list[dict[str, Any]]:
        """The student's graphs; the teacher's and the weights have optimisers of their own."""
        return [{"params": list(self.student_graphs.parameters())}]

    def meta_parameters(self) -> list[nn.Parameter]:
        """What the meta-learning changes."""
        weights = list(self.sample_weights.parameters()) if self.params.meta in ("weights", "both") else []
        graph = self.params.meta in ("teacher_graph", "both")
        # The classifier on the teacher's nodes has no part in what the student learns from.
        nodes = [
            parameter
            for name, parameter in self.teacher_graphs.named_parameters()
            if graph and ".classifier." not in f".{name}"
        ]
        return [*weights, *nodes]

    def get_extra_state(self) -> dict[str, Any]:
        """State of the meta optimiser."""
        return self.meta_optimizer.state_dict() if self.meta_optimizer else {}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restores it."""
        if self.meta_optimizer:
            self.meta_optimizer.load_state_dict(state)

    def pretrain(self, batches: Callable[[int], Iterable[BatchLike]], teacher: Network | None) -> Iterator[None]:
        """Trains the teacher's graph on the labels, the teacher itself staying as it is."""
        assert teacher is not None
        optimizer = Adam(self.teacher_graphs.parameters(), lr=self.params.first_stage_lr)
        for epoch in range(self.params.first_stage):
            for batch in batches(epoch):
                features = self._features(teacher(batch.image), teacher_side=True)
                loss = in_groups(self._teacher_loss, self.params.group, batch.target, *features)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                yield
        optimizer.zero_grad(set_to_none=True)

    def _teacher_loss(self, target: Tensor, *features: Tensor) -> Tensor:
        """Loss of the teacher's graphs over samples with these features."""
        return self._graph_labels(self._graphs(self.teacher_graphs, list(features)), target).sum()

    def before_step(
        self,
        batch: BatchLike,
        meta: Callable[[], BatchLike] | None,
        student: Backbone,
        teacher: Network | None,
        step_context: StepContext,
    ) -> None:
        """Every ``meta_every`` steps: moves what is meta-learnt so that the student would have learnt better.

        The gradient is exact and stays readable in ``.grad`` of the `meta_parameters` until the next update.
        """
        if self.meta_optimizer is None or (step_context.step + 1) % self.params.meta_every:
            return
        assert teacher is not None
        judged = meta() if meta is not None else batch
        rate = step_context.rate * self.params.inner_rate
        gradients = self._hyper_gradient(batch, judged, student, teacher, rate)
        for parameter, gradient in zip(self.meta_parameters(), gradients, strict=True):
            parameter.grad = gradient
        self.meta_optimizer.step()

    def _hyper_gradient(
        self, batch: BatchLike, judged: BatchLike, student: Backbone, teacher: Network, rate: float
    ) -> list[Tensor]:
        """Gradient of the labels' loss on ``judged`` after graph steps and one label step on ``batch``."""
        most = self.params.meta_pictures
        image, target = batch.image[:most], batch.target[:most]
        teacher_outputs = teacher(image)
        teacher_features = self._features(teacher_outputs, teacher_side=True)
        # Copies: the running statistics of the student itself must not see images that it does not train on.
        buffers: Weights = {name: buffer.clone() for name, buffer in student.named_buffers()}

        def outputs_with(weights: Weights, images: Tensor) -> Outputs:
            outputs: Outputs = functional_call(student, _under("student.", weights) | buffers, (images,))
            return outputs

        def graph_loss(weights: Weights) -> Tensor:
            features = self._features(outputs_with(weights, image), teacher_side=False)
            graphs = [
                functional_call(network, _under(f"graph{place}.", weights), (vectors,))
                for place, (network, vectors) in enumerate(zip(self.student_graphs, features, strict=True))
            ]
            wanted = self._graphs(self.teacher_graphs, teacher_features)
            node, relation = self._matching(graphs, wanted, *sample_weights)
            return self.params.node_weight * node + self.params.relation_weight * relation

        def label_loss(weights: Weights) -> Tensor:
            return self.cross_entropy(outputs_with(weights, image).logits, target)

        def judge(weights: Weights) -> Tensor:
            return self.cross_entropy(outputs_with(weights, judged.image[:most]).logits, judged.target[:most])

        start: Weights = {f"student.{name}": tensor for name, tensor in student.named_parameters()}
        for place, network in enumerate(self.student_graphs):
            start |= {f"graph{place}.{name}": tensor for name, tensor in network.named_parameters()}
        # What the weights look at is fixed where the look-ahead starts: it must not move under its own gradient.
        with torch.no_grad():
            embedding = outputs_with(start, image).embedding
        sample_weights = self._weights(embedding, teacher_outputs.embedding)
        inner = [graph_loss] * self.params.inner_steps + [label_loss]
        _, gradients = hyper_gradient(start, inner, judge, rate, self.meta_parameters())
        return gradients

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """Both graphs of the batch, their nodes, the weights of the samples, and how much each sample sees itself."""
        assert teacher is not None
        graphs = {
            "student": self.student_graphs[-1](student.embedding),
            "teacher": self.teacher_graphs[-1](teacher.embedding),
        }
        arrays: dict[str, InspectedArray] = {}
        for side, graph in graphs.items():
            adjacency = graph.adjacency
            entropy = -(adjacency * adjacency.clamp_min(1e-12).log()).sum(dim=1)
            alike = graph.nodes @ graph.nodes.T
            others = alike.masked_select(~torch.eye(len(alike), dtype=torch.bool, device=alike.device))
            arrays |= {
                f"adjacency_{side}": InspectedArray(adjacency, "graph"),
                f"nodes_{side}": InspectedArray(graph.nodes, "nodes"),
                f"self_weight_{side}": InspectedArray(adjacency.diagonal(), "vector"),
                f"entropy_{side}": InspectedArray(entropy, "vector"),
                f"likeness_{side}": InspectedArray(others.mean(), "scalar"),
            }
        weights = self._weights(student.embedding, teacher.embedding)
        for name, values in zip(("node_weight", "relation_weight"), weights, strict=True):
            if values is not None:
                arrays[name] = InspectedArray(values, "vector")
        return arrays


def _under(prefix: str, weights: Weights) -> Weights:
    """The weights whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
