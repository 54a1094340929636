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
from pathlib import Path
from typing import Any, NoReturn, Protocol

import torch
from torch import nn

from kdengine.errors import NonFiniteLoss
from kdengine.evaluation.accuracy import Evaluation, evaluate
from kdengine.methods.base import BatchLike, Method, StepContext, Term
from kdengine.models.backbone import Backbone
from kdengine.models.stored import write_tensors, write_weights
from kdengine.spec import ExperimentSpec
from kdengine.training import checkpoint
from kdengine.training.accumulation import in_parts
from kdengine.training.cached_logits import CachedTeacher
from kdengine.training.capture import CapturedStep, CudaRecorder, NotCapturable
from kdengine.training.mixing import make_mixer
from kdengine.training.module import Best, TrainingModule
from kdengine.training.optimisation import build_optimizer, learning_rate, load_optimizer, make_ema, set_rate
from kdengine.training.pace import Pace
from kdengine.training.progress import Progress
from kdengine.training.running_sums import RunningSums, readable
from kdengine.training.teacher import FrozenTeacher, TeacherOutputs
from kdengine.workspace.rundir import RunDirectory

log = logging.getLogger(__name__)


class Batches(Protocol):
    """What the loop needs of the data path."""

    steps_per_epoch: int

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[BatchLike]:
        """The batches of an epoch from a step on, the same for the same arguments."""
        ...


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
        stop: called after each step; True ends the run with a checkpoint.
        on_stop: called after that checkpoint; must raise.
        on_checkpoint: called after each epoch's checkpoint.
    """

    def __init__(
        self,
        *,
        spec: ExperimentSpec,
        student: Backbone,
        method: Method,
        teacher: FrozenTeacher | CachedTeacher | None,
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
        self.run, self.device = run, device
        self.module = TrainingModule(student, method)
        self.teacher = teacher
        if teacher is not None:
            method.copy_from_teacher(teacher.backbone)
        self.deployed = method.deployable(student)
        self.train_batches = train
        self.validation_batches = validation
        self.meta_batches = meta
        self.mix = make_mixer(self.recipe, method.context.classes)
        self.reduced = reduced
        self.scaler = torch.amp.GradScaler(device.type, enabled=reduced == torch.float16)
        self.stop, self.on_stop, self.on_checkpoint = stop, on_stop, on_checkpoint
        self.captured = self._recorded_step()
        self.optimizer = build_optimizer(
            self.recipe,
            [{"params": list(student.parameters())}, *method.param_groups()],
            fused=device.type == "cuda",
            capturable=self.captured is not None,
            scaled=self.scaler.is_enabled(),
        )
        self.ema = make_ema(self.deployed, self.recipe.ema)
        self.compiled = torch.compile(self.module, dynamic=False) if spec.runtime.compile else self.module
        self.clock = torch.zeros((), device=device)
        self.epoch = self.step = 0
        self.best = Best()
        self.sums = RunningSums()
        self.pace = Pace()
        self.progress = Progress(run, self.recipe.epochs, train.steps_per_epoch)

    def _recorded_step(self) -> CapturedStep | None:
        """The step as a CUDA graph, where that is wanted and possible."""
        method = self.module.method
        # A scaler of gradients decides on the host whether a step is taken.
        recordable = not self.scaler.is_enabled() and method.capturable(method.params)
        if not self.spec.runtime.cuda_graph or self.device.type != "cuda" or not recordable:
            return None
        if self.recipe.accumulate > 1:
            log.warning("steps that are computed in parts (recipe.accumulate) are not recorded as a CUDA graph")
            return None
        return CapturedStep(self._step, CudaRecorder(self.device))

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
        self._before_step(batch, StepContext(position, rate))
        terms = self._take(batch)
        if self.ema is not None:
            self.ema.update_parameters(self.deployed)
        self.sums.add(terms)
        return rate

    def _take(self, batch: BatchLike) -> dict[str, Term]:
        """The step itself, in parts where the recipe has any, as a CUDA graph where that is wanted and possible."""
        if self.recipe.accumulate > 1:
            return self._step_in_parts(batch)
        from_teacher = self._cached_outputs(batch)
        if self.captured is None:
            return self._step(batch, from_teacher)
        try:
            return self.captured(batch, from_teacher)
        except NotCapturable as error:
            log.warning("the steps are not recorded as a CUDA graph, and taken one by one: %s", error)
            self.captured = None
            return self._step(batch, from_teacher)

    def _cached_outputs(self, batch: BatchLike) -> TeacherOutputs | None:
        """The teacher's cached outputs; looked up on the host, so outside a graph. None = they are to be computed."""
        if not isinstance(self.teacher, CachedTeacher):
            return None
        with self.autocast():
            return self.teacher.outputs_for(batch)

    def _step(self, batch: BatchLike, from_teacher: TeacherOutputs | None) -> dict[str, Term]:
        """Forward, backward, optimiser; the method's terms, without gradients."""
        self.optimizer.zero_grad(set_to_none=True)
        terms = self._learn(batch, from_teacher)
        self._update()
        return terms

    def _step_in_parts(self, batch: BatchLike) -> dict[str, Term]:
        """The same step; what the backward pass needs is there for one part of the batch at a time."""
        self.optimizer.zero_grad(set_to_none=True)
        terms = in_parts(
            batch, self.recipe.accumulate, lambda part, share: self._learn(part, self._cached_outputs(part), share)
        )
        self._update()
        return terms

    def _learn(self, batch: BatchLike, from_teacher: TeacherOutputs | None, share: float = 1.0) -> dict[str, Term]:
        """Forward and backward: adds the loss's gradient, times ``share``; the terms, without gradients."""
        with self.autocast():
            if from_teacher is None and self.teacher is not None:
                # First, and outside what is compiled: nothing of the student's graph is held meanwhile.
                from_teacher = self.teacher.outputs_for(batch)
            terms = self.compiled(batch, from_teacher, self.clock)
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

    def _before_step(self, batch: BatchLike, step_context: StepContext) -> None:
        """Lets the method do its bi-level update, on the meta batch of this step if it wants one."""
        held_out = self.meta_batches

        def meta_batch() -> BatchLike:
            assert held_out is not None
            return next(iter(held_out.epoch(*divmod(step_context.step, held_out.steps_per_epoch))))

        meta = meta_batch if held_out is not None else None
        self.module.method.before_step(batch, meta, self.module.student, self.teacher, step_context)

    def _end_epoch(self) -> None:
        self.run.update_status(phase="validating")
        validation = self._validate_what_is_finite()
        self.module.method.on_epoch_end(self.epoch)
        means = self.sums.means()
        event = {
            "kind": "epoch",
            "attempt": self.progress.attempt,
            "epoch": self.epoch + 1,
            "loss": sum(weighted for _, weighted in means.values()),
            "terms": readable(means),
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
            progress=self.progress.at(self.epoch, self.step),
            progress_at=time.time(),
        )
        self.on_checkpoint()
        if self.stop() and self.epoch < self.recipe.epochs:
            self.on_stop()

    def _write_method(self, path: Path) -> None:
        """Keeps the method's own parts, where somebody will want them: exits that predict, arrays to show."""
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
        speed, pace = self.pace.images_per_second(), self.pace.seconds_per_step()
        self.progress.step(self.epoch, self.step, window, rate, speed, pace)

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


def _is_finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")
