"""One run from a spec: the only place that knows data, models, method, loop and tracking at once."""

from __future__ import annotations

import logging
import signal
import time
from dataclasses import replace
from typing import Any

import torch

from kdengine import assembly, health
from kdengine.assembly import changed_data
from kdengine.data import DatasetBundle
from kdengine.errors import BadInput, KdError, Problem, Stopped
from kdengine.evaluation.accuracy import Evaluation, evaluate
from kdengine.evaluation.early_exit import evaluate_exits
from kdengine.inspection.record import Recorder, epochs_to_record
from kdengine.jobs.executor import RUNNING_LOCK
from kdengine.jobs.failures import classify_exception
from kdengine.jobs.placement import why_no_gpu
from kdengine.machine.sampling import Sampler, sampled
from kdengine.models.backbone import Backbone
from kdengine.models.stored import ModelCard, added_to, load_student, write_card
from kdengine.runner import shortage
from kdengine.runner.heartbeat import beating
from kdengine.runner.result import RunResult
from kdengine.runner.stopping import StopRequest, asked_to_stop
from kdengine.spec import ExperimentSpec
from kdengine.spec.fields import weights_of_long_runs
from kdengine.teachers.records import Imported, pinned
from kdengine.tracking.mirroring import Companion
from kdengine.training.cached_logits import CachedTeacher
from kdengine.training.hardware import Precision, choose_precision, configure, describe
from kdengine.training.loop import Trainer
from kdengine.training.teacher import FrozenTeacher
from kdengine.tuning.of_run import RunChoices
from kdengine.workspace import Workspace, files
from kdengine.workspace.identity import process_identity
from kdengine.workspace.rundir import RunDirectory, new_run_id
from kdengine.workspace.states import State

log = logging.getLogger(__name__)

# A run that has just ended in a shell still writes to MLflow while it holds its lock.
LOCK_WAIT_S = 3.0


def create(spec: ExperimentSpec, workspace: Workspace, run_id: str | None = None) -> RunDirectory:
    """Makes the folder of a run with its snapshot; nothing is trained yet."""
    spec = pinned(spec, workspace)
    folder = workspace.run(run_id or new_run_id(spec.method.name, workspace.runs))
    folder.create(spec.to_yaml(), spec.command())
    folder.update_status(fingerprint=spec.fingerprint())
    return folder


def check_data(folder: RunDirectory, workspace: Workspace, *, accept: bool = False) -> None:
    """Raises BadInput where the data of a run that has a checkpoint changed since, unless that is accepted."""
    if folder.last_checkpoint.is_file() and folder.state() != State.FINISHED:
        assembly.load_data_of(folder, workspace, accept=accept)


def execute(folder: RunDirectory, workspace: Workspace) -> RunResult:
    """Trains a run that was created, from its checkpoint if it has one, and writes its outcome.

    Safe to call again after any crash; a second process on the same run is refused after three seconds.

    Raises:
        BadInput: another process is training this run, or it is finished.
        KdError: what failed, after it was written to the run's status.
    """
    with files.lock(folder.path / RUNNING_LOCK, blocking=False, wait_s=LOCK_WAIT_S) as mine:
        if not mine:
            raise BadInput(Problem("run", f"the run {folder.id} is being trained by another process"))
        if folder.state() == State.FINISHED:
            raise BadInput(Problem("run", f"the run {folder.id} is finished; clone it to train it again"))
        return _Execution(folder, workspace).go()


class _Execution:
    """One attempt at one run."""

    def __init__(self, folder: RunDirectory, workspace: Workspace) -> None:
        self.folder = folder
        self.workspace = workspace
        self.spec = ExperimentSpec.from_yaml(folder.spec_text())
        self.stop = StopRequest()
        self.companion = Companion(workspace, folder)
        self.sampler = Sampler(folder.path)
        self.under_way = False

    def go(self) -> RunResult:
        self.folder.repair_events()
        attempt = int(self.folder.status().get("attempt") or 0) + 1
        self.folder.update_status(
            state=State.STARTING, phase="starting", process=process_identity(home=self.folder.home), attempt=attempt,
            started=time.time(), progress_at=time.time(), ended=None, reason=None, message=None, advice=None,
            remedies=None, exit_code=None, fingerprint=self.spec.fingerprint(),
        )  # fmt: skip
        self.folder.append_event({"kind": "start", "attempt": attempt})
        try:
            with self.stop.listening(), beating(self.folder), sampled(self.folder, self.sampler):
                metrics = self._train_and_test()
        except BaseException as error:
            raise self._record_failure(error) from error
        self._end(State.FINISHED, phase="done", exit_code=0, findings=self._findings())
        return RunResult(self.folder.id, State.FINISHED, self.folder.path, metrics)

    # the work ------------------------------------------------------------------------------------------------------

    def _train_and_test(self) -> dict[str, Any]:
        stored = self._train_teacher()
        self.folder.update_status(state=State.RUNNING, phase="loading data")
        device = self._device()
        precision = choose_precision(self.spec.runtime.precision, device)
        threads = configure(self.spec.runtime, device, self.folder.environment().get("threads"))
        self.folder.write_environment(describe(device, threads, precision))
        bundle = self._data()
        trainer = self._train(stored, bundle, device, precision)
        self.folder.update_status(phase="testing")
        return self._test(trainer, bundle, device)

    def _data(self) -> DatasetBundle:
        bundle = assembly.load_data(self.spec, self.workspace)
        if self.folder.last_checkpoint.is_file():
            changed_data.compare(self.folder, bundle)
        left = {health.WEIGHTS_OF_LONG_RUNS: weights_of_long_runs(self.spec.method.params)}
        self.folder.update_status(phase="building the networks", data=_sizes(bundle), **left)
        return bundle

    def _train(
        self, stored: assembly.TeacherSource | None, bundle: DatasetBundle, device: torch.device, precision: Precision
    ) -> Trainer:
        """Trains to the end of the recipe; the loop, with all that it has trained."""
        student = assembly.seeded_student(self.spec, len(bundle.classes))
        images = self.spec.recipe.epochs * len(bundle.train)
        choices = RunChoices(self.folder, self.spec, self.workspace.cache, device, images)
        spec = self.spec = _laid_out(self.spec, choices.channels_last(student, precision.student))
        student = assembly.in_layout(spec, student, device)
        teacher = self._teacher(stored, bundle, device, precision, choices)
        train = assembly.training_batches(spec, bundle, device)
        validation = assembly.evaluation_batches(spec, bundle, "validation", device)
        reading = assembly.with_cached_logits(
            spec, bundle, stored, teacher, train, self.workspace, choices.reads_logits
        )
        with reading as asked:
            trainer = assembly.assemble_trainer(
                spec, student, asked, train, classes=len(bundle.classes), samples=len(bundle.train),
                run=self.folder, device=device, reduced=precision.student,
                validation=lambda: validation.epoch(0), meta=assembly.meta_batches(spec, bundle, device),
                stop=self._after_step, on_stop=self.stop.raise_stopped,
                on_checkpoint=lambda: self._after_checkpoint(trainer, recorder),
            )  # fmt: skip
            write_card(self.folder.card_file, self._card(bundle, trainer.deployed))
            if teacher is not None and isinstance(stored, Imported):
                # A run has noted how good it is; an import has not.
                accuracy = evaluate(lambda x: teacher(x).logits, validation.epoch(0)).accuracy
                self.folder.update_status(teacher_validation=accuracy)
            recorder = self._recorder(trainer, bundle, teacher)
            self._fit(trainer, recorder)
            if isinstance(asked, CachedTeacher):
                self.folder.update_status(replay=asked.summary())
                log.info(
                    "the teacher computed the logits of %(computed)d views; of %(read)d they were read", asked.summary()
                )
        return trainer

    def _teacher(
        self,
        stored: assembly.TeacherSource | None,
        bundle: DatasetBundle,
        device: torch.device,
        precision: Precision,
        choices: RunChoices,
    ) -> FrozenTeacher | None:
        if stored is None:
            return None
        assembly.check_teacher_fits(stored, self.spec, bundle)
        runtime, batch = self.spec.runtime, self.spec.recipe.part_size
        return assembly.freeze_teacher(
            stored, bundle, device, runtime.in_channels_last, runtime.compile, precision.teacher,
            lambda net: choices.ways(net, batch, precision.teacher),
        )  # fmt: skip

    def _device(self) -> torch.device:
        """The device that the spec names, as this process sees it; a GPU that is missed is missed aloud."""
        named = self.spec.runtime.device
        device = assembly.device_of(self.spec)
        self.sampler.follow((device.index or 0) if device.type == "cuda" else None)
        lacking = why_no_gpu(named) if device.type == "cpu" else ""
        if lacking:
            log.warning("it trains on the CPU, not on a GPU: %s", lacking)
        if lacking or self.folder.status().get("lacking"):
            self.folder.update_status(lacking=lacking)
        return device

    def _fit(self, trainer: Trainer, recorder: Recorder | None) -> None:
        """Trains to the end, from the last checkpoint on; a request to stop is heard after each step."""
        if trainer.resume():
            log.info("resuming after epoch %d, step %d", trainer.epoch, trainer.step)
        # Of the untrained network; or of an epoch whose arrays a crash kept from being written.
        _look(trainer, recorder)
        self.folder.update_status(phase="training", progress_at=time.time())
        self.stop.polite = True
        try:
            trainer.fit()
        finally:
            self.stop.polite = False
        if self.stop:
            self.stop.raise_stopped()

    def _after_step(self) -> bool:
        """Whether the training shall stop. After the first step MLflow hears of the run, and not before: its import, in
        a thread of this process, would take that step from 0.1 to 0.33 s."""
        if not self.under_way:
            self.under_way = True
            self.companion.wake()
        return bool(self.stop)

    def _train_teacher(self) -> assembly.TeacherSource | None:
        """The import or finished run that is named; or a run noted before, an equal one, or one trained now."""
        teacher = self.spec.teacher
        if teacher is None:
            return None
        if teacher.spec is None:
            source = assembly.find_teacher(self.spec, self.workspace)
            if isinstance(source, RunDirectory):
                self.folder.update_status(teacher_run=source.id)
            return source
        noted = self.folder.status().get("teacher_run")
        known = self.workspace.run(noted) if noted else None
        run = (
            (known if known is not None and known.exists else None)
            or assembly.find_finished(self.workspace, teacher.spec.fingerprint())
            or create(
                teacher.spec, self.workspace, new_run_id(f"teacher-{teacher.spec.student.name}", self.workspace.runs)
            )
        )
        self.folder.update_status(teacher_run=run.id)
        if run.state() != State.FINISHED:
            log.info("training the teacher %s first, as run %s", teacher.spec.student.name, run.id)
            self.folder.update_status(state=State.RUNNING, phase=shortage.TRAINS_TEACHER)
            execute(run, self.workspace)
        return run

    def _recorder(self, trainer: Trainer, bundle: DatasetBundle, teacher: FrozenTeacher | None) -> Recorder | None:
        epochs = epochs_to_record(self.spec.recipe.epochs, self.spec.runtime.inspect)
        if not epochs:
            return None
        # A batch as the method wants it, and the same one at every epoch.
        return Recorder(self.folder, bundle, teacher, lambda: next(iter(trainer.train_batches.epoch(0))), epochs)

    def _after_checkpoint(self, trainer: Trainer, recorder: Recorder | None) -> None:
        _look(trainer, recorder)
        status = self.folder.status()
        progress, validation, best = status["progress"], status["validation"], status["best"]
        log.info(
            "epoch %d/%d: validation %.1f %% (best %.1f %% in epoch %d), %.0f images/s",
            progress["epoch"], progress["epochs"], 100 * validation["accuracy"], 100 * best["accuracy"], best["epoch"],
            status.get("images_per_s", 0),
        )  # fmt: skip
        self.companion.wake()

    def _test(self, trainer: Trainer, bundle: DatasetBundle, device: torch.device) -> dict[str, Any]:
        """Reads the test part, once: last weights, weights best by validation, and the exits a method adds."""
        batches = assembly.evaluation_batches(self.spec, bundle, "test", device)

        def on_test(backbone: Backbone) -> Evaluation:
            backbone.to(device).eval()
            with trainer.autocast():  # as validation, by which the weights were chosen
                return evaluate(lambda x: backbone(x).logits, batches.epoch(0))

        last = on_test(trainer.student)
        best = on_test(load_student(self.folder)[0])
        metrics: dict[str, Any] = {"best": best.summary(), "last": last.summary()}
        if trainer.module.method.exits():
            student, method = assembly.load_with_exits(self.folder)
            with trainer.autocast():
                by_exit = evaluate_exits(student.to(device), method.to(device).exits(), batches.epoch(0))
            metrics |= {name: result.summary() for name, result in by_exit.items() if name != "deployed"}
        card = self._card(bundle, trainer.student)
        write_card(self.folder.card_file, replace(card, metrics={"test": metrics, "per_class": best.per_class}))
        self.folder.update_status(test=metrics, per_class=best.per_class)
        log.info("test: %.1f %% (best by validation), %.1f %% (last)", 100 * best.accuracy, 100 * last.accuracy)
        return metrics | {"validation": self.folder.status().get("validation", {})}

    def _card(self, bundle: DatasetBundle, deployed: Backbone) -> ModelCard:
        return ModelCard(
            model=self.spec.student.name,
            options=self.spec.student.params.model_dump(),
            classes=bundle.classes,
            image_size=bundle.image_size,
            mean=bundle.mean,
            std=bundle.std,
            weights="ema" if self.spec.recipe.ema else "raw",
            run=self.folder.id,
            fingerprint=self.spec.fingerprint(),
            added=added_to(deployed),
            ground=getattr(self.spec.data.params, "transparent", "white"),
        )

    # the outcome ---------------------------------------------------------------------------------------------------

    def _record_failure(self, error: BaseException) -> BaseException:
        asked = asked_to_stop(error)
        if asked is not None:
            stopped = asked if isinstance(asked, Stopped) else Stopped(signal.SIGINT)
            self._end(
                State.STOPPED,
                phase="stopped",
                reason="stopped",
                message="stopped on request",
                exit_code=stopped.exit_code,
            )
            return stopped
        failure = classify_exception(error)
        code = error.exit_code if isinstance(error, KdError) else 3
        log.error("%s", failure.message, exc_info=None if isinstance(error, KdError) else error)
        seen = shortage.look_back(error, failure.reason, self.spec, self.folder, self.workspace)
        message = f"{failure.message}; {seen.used}" if seen.used else failure.message
        shortage.report(self.folder, seen.remedies)
        self._end(
            State.FAILED,
            phase="failed",
            reason=failure.reason,
            message=message,
            advice=failure.advice,
            remedies=seen.remedies,
            exit_code=code,
        )
        return error if isinstance(error, KdError) else KdError(message)

    def _findings(self) -> list[list[str]]:
        """What makes its numbers hard to believe, said in the log too."""
        found = health.of_run(self.folder)
        for each in found:
            log.warning("%s %s", each.what, each.remedy)
        return [list(each) for each in found]

    def _end(self, state: State, **outcome: Any) -> None:
        try:
            self.folder.update_status(state=state, ended=time.time(), eta_s=0, **outcome)
            self.folder.append_event({"kind": "end", "state": state, **outcome})
        except KdError as error:
            log.error("the outcome could not be written: %s", error)
            return
        self.companion.finish()


def _look(trainer: Trainer, recorder: Recorder | None) -> None:
    """Stores what this epoch looks like, where that is wanted; only between epochs is it an epoch's."""
    if recorder is not None and trainer.step == 0:
        recorder.look(trainer.epoch, trainer.student, trainer.module.student, trainer.module.method)


def _laid_out(spec: ExperimentSpec, channels_last: bool) -> ExperimentSpec:
    """The spec with the memory layout that was chosen."""
    chosen = spec.runtime.model_copy(update={"channels_last": "on" if channels_last else "off"})
    return spec.model_copy(update={"runtime": chosen})


def _sizes(bundle: DatasetBundle) -> dict[str, Any]:
    return {
        "classes": len(bundle.classes),
        "train": len(bundle.train),
        "validation": len(bundle.validation),
        "test": len(bundle.test),
        "digest": bundle.digest,
    }
