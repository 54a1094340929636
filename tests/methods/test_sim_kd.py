"""The reused teacher classifier, from the loss to what is stored, loaded and asked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support import Bench, Distilled, TinyNet, bench, distilled_spec
from torch import nn
from torch.nn import functional as F

from kdengine import RunResult, assembly, run
from kdengine.errors import BadInput, KdError
from kdengine.evaluation.accuracy import evaluate
from kdengine.evaluation.classifier import Classifier
from kdengine.evaluation.cost import count
from kdengine.forecast import forecast
from kdengine.methods import Context, get_method
from kdengine.models import Shapes, build_model
from kdengine.models.blocks.projector import Projector
from kdengine.models.projected import ProjectedBackbone, rebuild
from kdengine.models.stored import load_student, read_card
from kdengine.workspace import Workspace

# the method ----------------------------------------------------------------------------------------------------------


def deployed_of(trial: Bench) -> ProjectedBackbone:
    deployed = trial.method.deployable(trial.student)
    assert isinstance(deployed, ProjectedBackbone)
    return deployed


def test_the_loss_is_the_gap_behind_the_projector() -> None:
    trial = bench("sim_kd", feature_weight=2.0)
    terms = trial.terms()
    with torch.no_grad():
        projected = trial.method.projector(trial.student(trial.batch.image).stages[-1])
        wanted = F.mse_loss(projected, trial.teacher(trial.batch.image).stages[-1])
    assert set(terms) == {"features"} and terms["features"].weighted.item() == pytest.approx(
        2 * wanted.item(), rel=1e-3
    )


def test_labels_go_through_the_teachers_classifier() -> None:
    trial = bench("sim_kd", ce_weight=0.5)
    term = trial.terms()["ce"]
    deployed = deployed_of(trial).train()
    with torch.no_grad():
        wanted = F.cross_entropy(deployed(trial.batch.image).logits, trial.batch.target)
    assert term.raw.item() == pytest.approx(wanted.item(), rel=1e-3) and term.weight == 0.5


def test_the_classifier_is_the_teachers_a_copy_and_frozen() -> None:
    trial = bench("sim_kd")
    own, guide = trial.method.classifier, trial.teacher_net.classifier
    assert torch.equal(own.weight, guide.weight) and torch.equal(own.bias, guide.bias)
    assert own.weight.data_ptr() != guide.weight.data_ptr()
    trained = {parameter for group in trial.method.param_groups() for parameter in group["params"]}
    assert trained == set(trial.method.projector.parameters())


def test_a_student_with_the_teachers_features_gives_the_teachers_answer() -> None:
    trial = bench("sim_kd", student=TinyNet(5, 16, (7, 9, 12)))
    trial.student.load_state_dict(trial.teacher_net.state_dict())
    nn.init.zeros_(trial.student.classifier.weight)
    deployed = deployed_of(trial)
    deployed.body["projector"] = nn.Identity()
    deployed.eval()
    with torch.no_grad():
        found = deployed(trial.batch.image)
    assert torch.allclose(found.logits, trial.teacher(trial.batch.image).logits, atol=1e-5)


@pytest.mark.parametrize(
    ("student", "teacher", "maps", "side"),
    [
        (((8, 4, 4),), ((12, 4, 4),), True, 4),
        (((8, 8, 8),), ((12, 4, 4),), True, 4),
        (((8, 2, 2),), ((12, 4, 4),), True, 2),
        (((8, 4, 4),), ((96, 2, 2),), False, 4),
        (((8, 4, 4),), (), False, 4),
        ((), ((12, 4, 4),), True, 1),
        ((), (), False, 1),
    ],
)
def test_any_shapes_meet(
    student: tuple[tuple[int, int, int], ...], teacher: tuple[tuple[int, int, int], ...], maps: bool, side: int
) -> None:
    cls = get_method("sim_kd")
    method = cls.build(cls.Params(), Context(5, 100, Shapes(5, 8, student), Shapes(5, 12, teacher)))
    assert method.maps == maps
    projected = method.projector(torch.randn(2, *(student[-1] if student else (8, 1, 1))))
    assert projected.shape == (2, 12, side, side)


def test_a_teacher_that_reads_something_else_is_refused_in_words() -> None:
    class Normed(TinyNet):
        def forward(self, x: torch.Tensor) -> object:
            outputs = super().forward(x)
            embedding = F.layer_norm(outputs.embedding, outputs.embedding.shape[1:])
            return outputs._replace(logits=self.classifier(embedding), embedding=embedding)

    with pytest.raises(BadInput, match=r"method\.features: the classifier of tiny reads something else than the mean"):
        bench("sim_kd", teacher=Normed(5, 16))
    trial = bench("sim_kd", teacher=Normed(5, 16), features="embedding")
    assert trial.terms()["features"].raw > 0


def test_the_projector_counts_what_the_official_one_counts() -> None:
    # resnet8x4 -> resnet32x4, factor 2: 256 x 128 + 128 x 128 x 9 + 128 x 256 and three batch normalisations.
    projector = Projector(256, 256, (8, 8))
    wanted = 256 * 128 + 128 * 128 * 9 + 128 * 256 + 2 * (128 + 128 + 256)
    assert sum(parameter.numel() for parameter in projector.parameters()) == wanted == 214_016


# a run of it ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, furnished: Path) -> tuple[Workspace, RunResult]:
    from support import make_workspace

    workspace = make_workspace(tmp_path_factory.mktemp("sim") / "home", furnished)
    recipe = {"epochs": 2, "ema": 0.6}
    return workspace, run(distilled_spec(method="sim_kd", student="resnet20", recipe=recipe), workspace=workspace)


def test_what_is_loaded_answers_as_the_run_reported(trained: tuple[Workspace, RunResult]) -> None:
    workspace, result = trained
    folder = workspace.run(result.run_id)
    spec = distilled_spec(method="sim_kd", student="resnet20", recipe={"epochs": 2, "ema": 0.6})
    bundle = assembly.load_data(spec, workspace)
    for last in (False, True):
        backbone, card = load_student(folder, last=last)
        assert isinstance(backbone, ProjectedBackbone) and not backbone.training and card.weights == "ema"
        batches = assembly.evaluation_batches(spec, bundle, "test", torch.device("cpu")).epoch(0)
        with torch.no_grad():
            found = evaluate(lambda x, net=backbone: net(x).logits, batches)
        assert found.summary() == pytest.approx(result.metrics["last" if last else "best"], rel=1e-5)


def test_the_file_and_the_card_name_what_was_added(trained: tuple[Workspace, RunResult]) -> None:
    workspace, result = trained
    keys = {name.partition(".")[0] for name in load_file(result.path / "student.safetensors")}
    assert keys == {"student", "projector", "classifier"}
    card = read_card(workspace.run(result.run_id))
    assert card.model == "resnet20" and card.added is not None and card.added["kind"] == "projected"
    teacher = workspace.run(workspace.run(result.run_id).status()["teacher_run"])
    own, guide = load_student(workspace.run(result.run_id))[0], load_student(teacher)[0]
    assert torch.equal(own.classifier.weight, guide.classifier.weight), "neither training nor EMA move it"


def test_it_classifies_images_and_can_teach(trained: tuple[Workspace, RunResult]) -> None:
    workspace, result = trained
    image = Image.fromarray(np.full((20, 20, 3), 90, np.uint8))
    answer = Classifier(workspace.run(result.run_id))(image)
    assert len(answer.top) == 5 and sum(value for _, value in answer.top) <= 1 + 1e-6
    spec = distilled_spec(teacher=f"run:{result.run_id}", recipe={"epochs": 1})
    taught = run(spec, workspace=workspace)
    assert taught.state == "finished" and "added" not in json.loads((taught.path / "model_card.json").read_text())


def test_the_forecast_counts_what_is_deployed(trained: tuple[Workspace, RunResult]) -> None:
    workspace, result = trained
    told = forecast(distilled_spec(method="sim_kd", student="resnet20"), workspace)
    deployed = count(load_student(workspace.run(result.run_id))[0])
    assert (told.student.parameters, told.student.macs, told.student.bytes) == (
        deployed.parameters, deployed.macs, deployed.bytes,
    )  # fmt: skip
    plain = build_model("resnet20", 10, 16)
    assert told.student.parameters > count(plain).parameters and told.method_parameters == 0


def test_a_plain_run_has_the_files_and_keys_it_had(distilled: Distilled) -> None:
    content = json.loads((distilled.first.path / "model_card.json").read_text())
    assert set(content) == {
        "model", "options", "classes", "image_size", "mean", "std", "weights", "metrics", "run", "fingerprint",
    }  # fmt: skip
    assert set(load_file(distilled.first.path / "student.safetensors")) == set(
        build_model("resnet8", 10, 16).body.state_dict()
    )


def test_parts_of_an_unknown_kind_are_named() -> None:
    with pytest.raises(KdError, match="adds parts of the kind 'wings'; this version knows 'projected'"):
        rebuild(TinyNet(), {"kind": "wings"})
