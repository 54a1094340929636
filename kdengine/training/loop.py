"""The training loop. It takes a student, a method and batches, and knows none of them by name.

Exact resume: order and augmentation are functions of (seed, epoch, sample), the learning rate of the step; weights,
optimiser, EMA, method, running sums and random states are in the checkpoint. N epochs in one go therefore equal k
epochs, a kill, a resume and N-k epochs, bit for bit on one machine.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor, nn

from kdengine.errors import NonFiniteLoss
from kdengine.evaluation.accuracy import Evaluation, evaluate
from kdengine.methods.base import BatchLike, Method, Moment, Network, Term
from kdengine.models.backbone import Backbone
from kdengine.models.stored import write_tensors, write_weights
from kdengine.rundir import RunDirectory
from kdengine.spec import ExperimentSpec
from kdengine.training import checkpoint
from kdengine.training.accumulation import in_parts
from kdengine.training.capture import CapturedStep, CudaRecorder, NotCapturable
from kdengine.training.mixing import make_mixer
from kdengine.training.optimisation import build_optimizer, learning_rate, load_optimizer, make_ema, set_rate
from kdengine.training.replay import ReplayedTeacher
from kdengine.training.teacher import Answers, FrozenTeacher

log = logging.getLogger(__name__)

NEVER = 1 << 62
STATUS_S = 0.5
"""Seconds between two notes of the progress within an epoch; every event is written."""


class Batches(Protocol):
    """What the loop needs of the data path."""

    steps_per_epoch: int

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[BatchLike]:
        """The batches of an epoch from a step on, the same for the same arguments."""
        ...


class TrainingModule(nn.Module):
    """Student and method together: the one module that is compiled, wrapped and saved."""

    def __init__(self, student: Backbone, method: Method) -> None:
        super().__init__()
        self.student = student
        self.method = method

    def forward(self, batch: BatchLike, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """The method's loss terms for one batch."""
        return self.method(batch, self.student, teacher, clock)


@dataclass
class Best:
    """The best epoch by validation: highest accuracy, among equals lowest loss. Epochs count from 1, 0 = none yet.

    Equal accuracies are common: a validation part of 143 pictures has steps of 0.7 points.
    """

    accuracy: float = -1.0
    loss: float = 0.0
    epoch: int = 0

    def beaten_by(self, other: Evaluation) -> bool:
        """Whether another evaluation is better."""
        return (other.accuracy, -other.loss) > (self.accuracy, -self.loss)


class Trainer:
    """Trains to the end of the recipe, or until it is asked to stop.

    Args:
        spec: the experiment; recipe and runtime are read.
        student, method, teacher: what is trained, how, and by whom (None for no teacher).
        train: augmented training batches.
        validation: function that gives fresh batches of the validation part.
        run: the run's folder; events, progress, checkpoints and weights go there.
        device: where everything lies already.
        meta: batches held out for a method that asks for them.
        reduced: what forward passes compute in under autocast; None = float32. Gradients of float16 are scaled.
        stop: asked after each step; a true answer ends the run with a checkpoint.
        on_stop: called after that checkpoint; must raise.
        on_checkpoint: called after each epoch's checkpoint.
    """

    def __init__(
        self,
        *,
        spec: ExperimentSpec,
        student: Backbone,
        method: Method,
        teacher: FrozenTeacher | ReplayedTeacher | None,
        train: Batches,
        validation: Callable[[], Iterator[BatchLike]],
        run: RunDirectory,
        device: torch.device,
        meta: Batches | None = None,
        reduced: torch.dtype | None = None,
        stop: Callable[[], bool] = lambda: False,
        on_stop: Callable[[], None] = lambda: None,
        on_checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        self.spec = spec
        self.recipe = spec.recipe
        self.run = run
        self.device = device
        self.module = TrainingModule(student, method)
        self.teacher = teacher
        if teacher is not None:
            method.meet_teacher(teacher.backbone)
        self.deployed = method.deployable(student)
        self.train_batches = train
        self.validation_batches = validation
        self.meta_batches = meta
        self.mix = make_mixer(self.recipe, method.context.classes)
        self.reduced = reduced
        self.scaler = torch.amp.GradScaler(device.type, enabled=reduced == torch.float16)
        self.stop = stop
        self.on_stop = on_stop
        self.on_checkpoint = on_checkpoint
        groups = [{"params": list(student.parameters())}, *method.param_groups()]
        self.captured: CapturedStep | None = None
        # A scaler of gradients decides on the host whether a step is taken.
        recordable = not self.scaler.is_enabled() and method.capturable(method.params)
        if spec.runtime.cuda_graph and device.type == "cuda" and recordable:
            if self.recipe.accumulate > 1:
                log.warning("steps that are computed in parts (recipe.accumulate) are not recorded as a CUDA graph")
            else:
                self.captured = CapturedStep(self._step, CudaRecorder(device))
        self.optimizer = build_optimizer(
            self.recipe,
            groups,
            fused=device.type == "cuda",
            capturable=self.captured is not None,
            scaled=self.scaler.is_enabled(),
        )
        self.ema = make_ema(self.deployed, self.recipe.ema)
        self.compiled = torch.compile(self.module, dynamic=False) if spec.runtime.compile else self.module
        self.clock = torch.zeros((), device=device)
        self.epoch = 0
        self.step = 0
        self.best = Best()
        self.sums = RunningSums()
        self.attempt = int(run.status().get("attempt", 1))
        self.pace = Pace()
        self._told_at = 0.0

    # the whole run -------------------------------------------------------------------------------------------------

    def resume(self) -> bool:
        """Continues from the last checkpoint if there is one; returns whether there was."""
        if not self.run.last_checkpoint.is_file():
            return False
        state = checkpoint.load(self.run.last_checkpoint)
        self.module.load_state_dict(state["module"])
        load_optimizer(self.optimizer, state["optimizer"])
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.best = Best(*state["best"])
        self.sums.load_state_dict(state["sums"], self.device)
        checkpoint.restore_random_states(state["random"], self.device)
        return True

    def fit(self) -> None:
        """Trains what is left of the recipe; raises NonFiniteLoss, or whatever ``on_stop`` raises."""
        if (self.epoch, self.step) == (0, 0):
            self._pretrain()
        while self.epoch < self.recipe.epochs:
            self._train_epoch()
            self._end_epoch()

    @property
    def student(self) -> Backbone:
        """The network as it is evaluated and kept: what the method deploys, averaged where the recipe has an EMA."""
        return self.ema.module if self.ema is not None else self.deployed  # type: ignore[return-value]

    def _pretrain(self) -> None:
        """The method's own first stage, where it has one. Not in any checkpoint until it has ended."""
        self.module.train()
        taken = 0
        for _ in self.module.method.pretrain(self.train_batches.epoch, self.teacher):
            taken += 1
            if taken == 1 or taken % self.spec.runtime.log_every == 0:
                self.run.update_status(phase="first stage of the method", progress_at=time.time())
            if self.stop():
                self.on_stop()
        if taken:
            self._save()

    # one epoch -----------------------------------------------------------------------------------------------------

    def _train_epoch(self) -> None:
        self.module.train()
        self.pace.start()
        steps = self.train_batches.steps_per_epoch
        for batch in self.train_batches.epoch(self.epoch, self.step):
            rate = self.train_step(batch)
            self.step += 1
            self.pace.count(len(batch.target))
            if self.step % self.spec.runtime.log_every == 0 or self.step == steps:
                self._report_step(rate)
            if self.stop() and self.step < steps:
                self._save()
                self.on_stop()

    def train_step(self, batch: BatchLike) -> float:
        """One optimiser step on a batch; returns its learning rate. Logs and writes nothing."""
        batch = self.module.method.prepare(self.mix(batch))
        steps = self.train_batches.steps_per_epoch
        position = self.epoch * steps + self.step
        rate = learning_rate(self.recipe, position, steps)
        set_rate(self.optimizer, rate)
        self.clock.fill_(position / steps)
        self._look_ahead(batch, Moment(position, rate))
        terms = self._take(batch)
        if self.ema is not None:
            self.ema.update_parameters(self.deployed)
        self.sums.add(terms)
        return rate

    def _take(self, batch: BatchLike) -> dict[str, Term]:
        """The step itself, in parts where the recipe has any, as a CUDA graph where that is wanted and possible."""
        if self.recipe.accumulate > 1:
            return self._step_in_parts(batch)
        answers = self._stored_answers(batch)
        if self.captured is None:
            return self._step(batch, answers)
        try:
            return self.captured(batch, answers)
        except NotCapturable as error:
            log.warning("the steps are not recorded as a CUDA graph, and taken one by one: %s", error)
            self.captured = None
            return self._step(batch, answers)

    def _stored_answers(self, batch: BatchLike) -> Answers | None:
        """What the teacher answered before; looked up on the host, so outside a graph. None = it is to be asked."""
        if not isinstance(self.teacher, ReplayedTeacher):
            return None
        with self.autocast():
            return self.teacher.answers(batch)

    def _step(self, batch: BatchLike, answers: Answers | None) -> dict[str, Term]:
        """Forward, backward, optimiser; the method's terms, without gradients."""
        self.optimizer.zero_grad(set_to_none=True)
        terms = self._learn(batch, answers)
        self._update()
        return terms

    def _step_in_parts(self, batch: BatchLike) -> dict[str, Term]:
        """The same step; what the backward pass needs is there for one part of the batch at a time."""
        self.optimizer.zero_grad(set_to_none=True)
        terms = in_parts(
            batch, self.recipe.accumulate, lambda part, share: self._learn(part, self._stored_answers(part), share)
        )
        self._update()
        return terms

    def _learn(self, batch: BatchLike, answers: Answers | None, share: float = 1.0) -> dict[str, Term]:
        """Forward and backward: adds the loss's gradient, times ``share``; the terms, without gradients."""
        with self.autocast():
            if answers is None and self.teacher is not None:
                # First, and outside what is compiled: nothing of the student's graph is held meanwhile.
                answers = self.teacher.answers(batch)
            terms = self.compiled(batch, answers, self.clock)
        loss = torch.stack([term.weighted.float() for term in terms.values()]).sum()
        self.scaler.scale(loss if share == 1 else share * loss).backward()
        return {name: term.detached() for name, term in terms.items()}

    def _update(self) -> None:
        """The optimiser's step along the gradients that are there."""
        if self.recipe.clip_norm > 0:
            self.scaler.unscale_(self.optimizer)
            # What the method trains by itself has gradients of its own that are none of this step's.
            stepped = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(stepped, self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _look_ahead(self, batch: BatchLike, moment: Moment) -> None:
        """Lets the method do its bi-level update, on the meta batch of this step if it wants one."""
        held_out = self.meta_batches

        def meta_batch() -> BatchLike:
            assert held_out is not None
            return next(iter(held_out.epoch(*divmod(moment.step, held_out.steps_per_epoch))))

        meta = meta_batch if held_out is not None else None
        self.module.method.before_step(batch, meta, self.module.student, self.teacher, moment)

    def _end_epoch(self) -> None:
        self.run.update_status(phase="validating")
        validation = self._validate_what_is_finite()
        self.module.method.on_epoch_end(self.epoch)
        means = self.sums.means()
        event = {
            "kind": "epoch",
            "attempt": self.attempt,
            "epoch": self.epoch + 1,
            "loss": sum(weighted for _, weighted in means.values()),
            "terms": _readable(means),
            "validation": validation.summary(),
            "lr": float(self.optimizer.param_groups[0]["lr"]),
            "images_per_s": round(self.pace.images_per_second(), 1),
        }
        self.epoch, self.step = self.epoch + 1, 0
        self.sums = RunningSums()
        # Weights before the event before the checkpoint: killed in between, the epoch is repeated and writes the same.
        improved = self.best.beaten_by(validation)
        if improved:
            self.best = Best(validation.accuracy, validation.loss, self.epoch)
            write_weights(self.run.student_file, self.student)
            self._write_method(self.run.method_file)
        if self.epoch in self.spec.runtime.keep_epochs:
            write_weights(self.run.checkpoints / f"epoch-{self.epoch:04d}.safetensors", self.student)
            self._write_method(self.run.checkpoints / f"epoch-{self.epoch:04d}.method.safetensors")
        write_weights(self.run.last_student_file, self.student)
        self.run.append_event(event | {"best": improved})
        self._save()
        self.run.update_status(
            phase="training",
            best={"accuracy": self.best.accuracy, "epoch": self.best.epoch},
            validation=validation.summary(),
            progress=self._progress(),
            progress_at=time.time(),
        )
        self.on_checkpoint()
        if self.stop() and self.epoch < self.recipe.epochs:
            self.on_stop()

    def _write_method(self, path: Path) -> None:
        """Keeps the method's own parts, where somebody will want them: exits that answer, arrays to look at."""
        method = self.module.method
        state = method.state_dict()
        if state and (method.exits() or method.is_inspected()):
            write_tensors(path, state)

    def _validate_what_is_finite(self) -> Evaluation:
        # Looked at before any file is written: the last step may have broken the weights after its loss was fine.
        if not checkpoint.all_finite([self.module.state_dict(), self.optimizer.state_dict()]):
            self._raise_broken("weights or optimiser")
        validation = self.validate()
        if not _is_finite(validation.loss):
            self._raise_broken("the loss on the validation part")
        return validation

    def validate(self) -> Evaluation:
        """Accuracy of the student, as it would be kept, on the validation part."""
        student = self.student.eval()
        with self.autocast():
            result = evaluate(lambda x: student(x).logits, self.validation_batches())
        self.module.train()
        return result

    # what others see -----------------------------------------------------------------------------------------------

    def _report_step(self, rate: float) -> None:
        window, broken = self.sums.window()
        if broken:
            raise NonFiniteLoss(
                f"the loss term {' and '.join(map(repr, broken))} became NaN or infinite at epoch {self.epoch + 1}, "
                f"step {self.step} (learning rate {rate:.3g}); the last good checkpoint is kept"
            )
        speed = self.pace.images_per_second()
        self.run.append_event(
            {
                "kind": "step",
                "attempt": self.attempt,
                "step": self.epoch * self.train_batches.steps_per_epoch + self.step,
                "epoch": self.epoch + 1,
                "loss": sum(weighted for _, weighted in window.values()),
                "terms": _readable(window),
                "lr": rate,
                "images_per_s": round(speed, 1),
            }
        )
        now = time.time()
        # It is synced to the disk each time, which takes longer than many steps on a GPU.
        if now - self._told_at >= STATUS_S or self.step == self.train_batches.steps_per_epoch:
            self._told_at = now
            self.run.update_status(
                phase="training",
                progress=self._progress(),
                progress_at=now,
                images_per_s=speed,
                eta_s=self._seconds_left(),
            )

    def _progress(self) -> dict[str, int]:
        return {
            "epoch": self.epoch,
            "epochs": self.recipe.epochs,
            "step": self.step,
            "steps": self.train_batches.steps_per_epoch,
        }

    def _seconds_left(self) -> float:
        steps = self.train_batches.steps_per_epoch
        left = (self.recipe.epochs - self.epoch) * steps - self.step
        return left * self.pace.seconds_per_step()

    def _save(self) -> None:
        state = {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.state_dict() if self.ema is not None else {},
            "epoch": self.epoch,
            "step": self.step,
            "best": [self.best.accuracy, self.best.loss, self.best.epoch],
            "sums": self.sums.state_dict(),
            "random": checkpoint.random_states(self.device),
        }
        if not checkpoint.save(self.run.last_checkpoint, state):
            self._raise_broken("weights or optimiser")

    def _raise_broken(self, what: str) -> NoReturn:
        raise NonFiniteLoss(
            f"{what} became NaN or infinite in epoch {self.epoch + 1}; the last good checkpoint is kept"
        )

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The precision of forward passes: of training, validation and test alike."""
        if self.reduced is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.reduced)


class RunningSums:
    """Sums of every loss term over an epoch, kept on the device; reading them is the only synchronisation."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.totals: Tensor | None = None
        self.reported: Tensor | None = None
        self.broken_at: Tensor | None = None
        self.steps = 0
        self.steps_reported = 0

    @torch.no_grad()
    def add(self, terms: dict[str, Term]) -> None:
        """Adds raw and weighted value of each term of one step."""
        now = torch.stack([value.detach().double() for term in terms.values() for value in (term.raw, term.weighted)])
        self.names = list(terms)
        self.totals = now if self.totals is None else self.totals + now
        before = torch.full_like(now, NEVER, dtype=torch.int64) if self.broken_at is None else self.broken_at
        self.broken_at = torch.where(torch.isfinite(now), before, before.clamp(max=self.steps))
        self.steps += 1

    def means(self) -> dict[str, tuple[float, float]]:
        """name -> (mean raw, mean weighted) over the epoch so far."""
        return {} if self.totals is None else self._by_name((self.totals / max(1, self.steps)).tolist())

    def window(self) -> tuple[dict[str, tuple[float, float]], list[str]]:
        """The same over the steps since this was last called; and the terms that were the first not to be finite.

        The device is asked once for both. A step later all terms are broken.
        """
        if self.totals is None or self.broken_at is None:
            return {}, []
        totals = self.totals if self.reported is None else self.totals - self.reported
        means = totals / max(1, self.steps - self.steps_reported)
        # As float64, which holds every number of a step, and NEVER, a power of two.
        values = torch.cat([means, self.broken_at.double()]).tolist()
        self.reported, self.steps_reported = self.totals, self.steps
        steps = [min(pair) for pair in self._by_name(values[len(means) :]).values()]
        broken = [name for name, step in zip(self.names, steps, strict=True) if step == min(steps) != NEVER]
        return self._by_name(values[: len(means)]), broken

    def _by_name(self, values: list[float]) -> dict[str, tuple[float, float]]:
        return {name: (values[2 * i], values[2 * i + 1]) for i, name in enumerate(self.names)}

    def state_dict(self) -> dict[str, Any]:
        """Everything, for the checkpoint."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Sets what `state_dict` gave; the sums go on on the device."""
        vars(self).update({name: _on(value, device) for name, value in state.items()})


class Pace:
    """Speed of this attempt: pictures a second over the recent past, seconds a step over all of it."""

    def __init__(self) -> None:
        self._began = 0.0
        self._pictures = 0
        self._steps = 0

    def start(self) -> None:
        """Begins an epoch."""
        self._began, self._pictures, self._steps = time.perf_counter(), 0, 0

    def count(self, pictures: int) -> None:
        """Notes one step."""
        self._pictures += pictures
        self._steps += 1

    def images_per_second(self) -> float:
        """Pictures a second in the current epoch."""
        return self._pictures / max(1e-9, time.perf_counter() - self._began)

    def seconds_per_step(self) -> float:
        """Seconds a step in the current epoch."""
        return (time.perf_counter() - self._began) / max(1, self._steps)


def _on(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def _readable(means: dict[str, tuple[float, float]]) -> dict[str, dict[str, float]]:
    return {name: {"raw": raw, "weighted": weighted} for name, (raw, weighted) in means.items()}


def _is_finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")
