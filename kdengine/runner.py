"""One run from a spec: the only place that knows data, models, method, loop and tracking at once."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from kdengine import assembly, files, reopening, shortage
from kdengine.data import DatasetBundle
from kdengine.errors import BadInput, KdError, Problem, Stopped
from kdengine.evaluation.accuracy import Evaluation, evaluate
from kdengine.evaluation.early_exit import evaluate_exits
from kdengine.inspection.record import Recorder, epochs_to_record
from kdengine.jobs.executor import RUNNING_LOCK
from kdengine.jobs.failures import causes, classify_exception
from kdengine.jobs.placement import why_no_gpu
from kdengine.machine.sampling import Sampler, sampled
from kdengine.mirroring import Companion
from kdengine.models.backbone import Backbone
from kdengine.models.stored import ModelCard, added_to, load_student, write_card
from kdengine.rundir import RunDirectory, new_run_id, process_identity
from kdengine.spec import ExperimentSpec, with_absolute_paths
from kdengine.states import State
from kdengine.teachers.records import Imported, pinned
from kdengine.training.hardware import choose_precision, configure, describe, seed_everything
from kdengine.training.loop import Trainer
from kdengine.training.replay import ReplayedTeacher
from kdengine.training.teacher import FrozenTeacher
from kdengine.workspace import Workspace

log = logging.getLogger(__name__)

HEARTBEAT_S = 10.0
# A run that has just ended in a shell still writes to MLflow while it holds its lock.
LOCK_WAIT_S = 3.0


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        run_id: its id; ``path`` its folder.
        state: "finished", "stopped" or "failed".
        metrics: {"best": ..., "last": ...} on test, {"validation": ...} of the last epoch; shares are 0..1.
    """

    run_id: str
    state: State
    path: Path
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def test_accuracy(self) -> float | None:
        """Test accuracy of the weights best by validation, 0..1; None before the end."""
        return self.metrics.get("best", {}).get("accuracy")


def run(
    spec: ExperimentSpec, *, run_id: str | None = None, workspace: Workspace | None = None, resume: bool = False
) -> RunResult:
    """Trains, or resumes, what the spec describes, in this process.

    Args:
        spec: the experiment; a teacher given as a spec is trained first, as a run of its own.
        run_id: id of the run; a fresh one by default.
        workspace: by default the one of ``KD_HOME``.
        resume: continue the run ``run_id``, which must exist; its own spec is used.

    Raises:
        BadInput: the request is wrong; nothing was written. Every problem is named.
        KdError: the run failed or was stopped; its folder tells why.
    """
    workspace = workspace or Workspace()
    if resume:
        if run_id is None:
            raise BadInput(Problem("run", "resume=True needs the id of the run to continue"))
        folder = workspace.existing_run(run_id)
        check_data(folder, workspace)
    else:
        spec = ExperimentSpec.from_mapping(with_absolute_paths(spec.model_dump(mode="json")))
        assembly.preflight(spec, workspace)
        folder = create(spec, workspace, run_id)
    return execute(folder, workspace)


def create(spec: ExperimentSpec, workspace: Workspace, run_id: str | None = None) -> RunDirectory:
    """Makes the folder of a run with its snapshot; nothing is trained yet."""
    spec = pinned(spec, workspace)
    folder = workspace.run(run_id or new_run_id(spec.method.name))
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


def _asked_to_stop(error: BaseException) -> BaseException | None:
    """The signal among an error's causes: it may come while a file is read, and be taken for a fault of that file."""
    return next((cause for cause in causes(error) if isinstance(cause, Stopped | KeyboardInterrupt)), None)


class StopRequest:
    """Ctrl-C and SIGTERM: while training, asked for after each step; at other times they end the run at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.polite = False

    def __bool__(self) -> bool:
        return self.signal is not None

    def raise_stopped(self) -> None:
        """Ends the run; called once the checkpoint is written."""
        raise Stopped(self.signal or signal.SIGTERM)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handles the signals for a while; does nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        asked_before = self.signal is not None
        self.signal = number
        if not self.polite or (asked_before and number == signal.SIGINT):
            raise Stopped(number)


class _Execution:
    """One attempt at one run."""

    def __init__(self, folder: RunDirectory, workspace: Workspace) -> None:
        self.folder = folder
        self.workspace = workspace
        self.spec = ExperimentSpec.from_yaml(folder.spec_text())
        self.stop = StopRequest()
        self.companion = Companion(workspace, folder)
        self.sampler = Sampler(folder.path)

    def go(self) -> RunResult:
        self.folder.mend_events()
        attempt = int(self.folder.status().get("attempt") or 0) + 1
        self.folder.update_status(
            state=State.STARTING, phase="starting", process=process_identity(home=self.folder.home), attempt=attempt,
            started=time.time(), progress_at=time.time(), ended=None, reason=None, message=None, advice=None,
            remedies=None, exit_code=None, fingerprint=self.spec.fingerprint(),
        )  # fmt: skip
        self.folder.append_event({"kind": "start", "attempt": attempt})
        try:
            with self.stop.listening(), _beating(self.folder), sampled(self.folder, self.sampler):
                metrics = self._train_and_test()
        except BaseException as error:
            raise self._record_failure(error) from error
        self._end(State.FINISHED, phase="done", exit_code=0)
        return RunResult(self.folder.id, State.FINISHED, self.folder.path, metrics)

    # the work ------------------------------------------------------------------------------------------------------

    def _train_and_test(self) -> dict[str, Any]:
        spec, folder = self.spec, self.folder
        taught = self._train_teacher()
        folder.update_status(state=State.RUNNING, phase="loading data")
        device = self._device()
        precision = choose_precision(spec.runtime.precision, device)
        threads = configure(spec.runtime, device, folder.environment().get("threads"))
        folder.write_environment(describe(device, threads, precision))
        bundle = assembly.load_data(spec, self.workspace)
        if folder.last_checkpoint.is_file():
            reopening.compare(folder, bundle)
        folder.update_status(phase="building the networks", data=_sizes(bundle))

        layout = torch.channels_last if spec.runtime.channels_last else torch.contiguous_format
        student = assembly.seeded_student(spec, len(bundle.classes)).to(device, memory_format=layout)  # type: ignore[call-overload]
        teacher = None
        if taught is not None:
            assembly.check_teacher_fits(taught, spec, bundle)
            teacher = assembly.freeze_teacher(
                taught, bundle, device, spec.runtime.channels_last, spec.runtime.compile, precision.teacher
            )
        taught_by = teacher.backbone if teacher is not None else None
        method = assembly.build_method(spec, len(bundle.classes), len(bundle.train), student, taught_by)
        method.to(device)
        write_card(folder.card_file, self._card(bundle, method.deployable(student)))
        # Dropout and the like draw the same numbers whatever parts the method has.
        seed_everything(spec.seed + 1)
        validation = assembly.evaluation_batches(spec, bundle, "validation", device)
        if teacher is not None and isinstance(taught, Imported):
            # A run has told how good it is; an import has not.
            teacher_accuracy = evaluate(lambda x: teacher(x).logits, validation.epoch(0)).accuracy
            folder.update_status(teacher_validation=teacher_accuracy)
        train = assembly.training_batches(spec, bundle, device)
        with assembly.replayed(spec, bundle, taught, teacher, train, self.workspace) as guide:
            trainer = Trainer(
                spec=spec, student=student, method=method, teacher=guide, run=folder, device=device,
                reduced=precision.student,
                train=train, meta=assembly.meta_batches(spec, bundle, device),
                validation=lambda: validation.epoch(0),
                stop=lambda: bool(self.stop), on_stop=self.stop.raise_stopped,
                on_checkpoint=lambda: self._after_checkpoint(trainer, recorder),
            )  # fmt: skip
            recorder = self._recorder(trainer, bundle, teacher)
            if trainer.resume():
                log.info("resuming after epoch %d, step %d", trainer.epoch, trainer.step)
            # Of the untrained network; or of an epoch whose arrays a crash kept from being written.
            _look(trainer, recorder)
            self._fit(trainer)
            if isinstance(guide, ReplayedTeacher):
                folder.update_status(replay=guide.summary())
                log.info(
                    "the teacher answered %(computed)d views; %(read)d answers were read, not computed", guide.summary()
                )
        folder.update_status(phase="testing")
        return self._test(trainer, bundle, device)

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

    def _fit(self, trainer: Trainer) -> None:
        """Trains to the end; a request to stop is heard after each step."""
        self.companion.wake()
        self.folder.update_status(phase="training", progress_at=time.time())
        self.stop.polite = True
        try:
            trainer.fit()
        finally:
            self.stop.polite = False
        if self.stop:
            self.stop.raise_stopped()

    def _train_teacher(self) -> assembly.Taught | None:
        """The import or finished run that is named; or a run noted before, an equal one, or one trained now."""
        teacher = self.spec.teacher
        if teacher is None:
            return None
        if teacher.spec is None:
            taught = assembly.find_teacher(self.spec, self.workspace)
            if isinstance(taught, RunDirectory):
                self.folder.update_status(teacher_run=taught.id)
            return taught
        noted = self.folder.status().get("teacher_run")
        known = self.workspace.run(noted) if noted else None
        run = (
            (known if known is not None and known.exists else None)
            or assembly.find_finished(self.workspace, teacher.spec.fingerprint())
            or create(teacher.spec, self.workspace, new_run_id(f"teacher-{teacher.spec.student.name}"))
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
            "epoch %d/%d: validation %.1f %% (best %.1f %% in epoch %d), %.0f pictures/s",
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
                answers = evaluate_exits(student.to(device), method.to(device).exits(), batches.epoch(0))
            metrics |= {name: result.summary() for name, result in answers.items() if name != "deployed"}
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
        )

    # the outcome ---------------------------------------------------------------------------------------------------

    def _record_failure(self, error: BaseException) -> BaseException:
        asked = _asked_to_stop(error)
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
        shortage.tell(self.folder, seen.remedies)
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


def _sizes(bundle: DatasetBundle) -> dict[str, Any]:
    return {
        "classes": len(bundle.classes),
        "train": len(bundle.train),
        "validation": len(bundle.validation),
        "test": len(bundle.test),
        "digest": bundle.digest,
    }


@contextmanager
def _beating(folder: RunDirectory) -> Iterator[None]:
    """Touches the heartbeat from a thread, so that a step of any length does not look like death."""
    done = threading.Event()

    def beat() -> None:
        while not done.is_set():
            try:
                folder.beat()
            except OSError as error:
                log.warning("no heartbeat could be written: %s", error)
            done.wait(HEARTBEAT_S)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
