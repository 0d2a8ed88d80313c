"""One stage of training: steps on all replicas, with progress, metrics and a checkpoint every so often.

One loop for one device and for many (Keras' `fit` cannot train on several machines, see `distributed_step`).
"""

import math
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from zlib import crc32

import keras
import tensorflow as tf

from models.generators import restart_generators
from training.data.input_pipeline import raise_unreadable
from training.distribution.devices import is_chief, share_of_this_process
from training.distribution.memory import out_of_memory_said
from training.distribution.shares import Share
from training.errors import UserError
from training.methods.method import Method
from training.methods.optimizers import build_optimizer
from training.progress import Meter
from training.run_directory.checkpoint import load_lasting, load_partial, save_partial
from training.run_directory.metrics import append_metrics, forget_metrics_after
from training.run_directory.paths import RunDirectory
from training.settings.schedule import Schedule
from training.stages.memory_advice import need_of, sentence, tell

LOG_EVERY = 25  # steps


@dataclass(frozen=True)
class Part:
    """The steps `first` to `last` - 1 of a training called `whole`, which a run cuts into several stages."""

    whole: str
    first: int
    last: int


class _StageCallback(keras.callbacks.Callback):
    """Progress, metrics.csv, TensorBoard scalars and partial checkpoints of one stage; one worker writes for all."""

    def __init__(self, directory: RunDirectory, stage: str, steps: int, first_step: int, checkpoint_every: int):
        super().__init__()
        self.directory, self.stage, self.first_step = directory, stage, first_step
        self.steps, self.checkpoint_every = steps, checkpoint_every
        self.meter = Meter(f"training {stage}", steps, first_step)

    def on_train_begin(self, logs=None):
        folder = str(self.directory.tensorboard / self.stage)
        self.writer = tf.summary.create_file_writer(folder) if is_chief() else tf.summary.create_noop_writer()
        self.meter.__enter__()

    def on_train_batch_end(self, batch, logs=None):
        step = self.first_step + batch + 1
        at_checkpoint = step % self.checkpoint_every == 0
        if step % LOG_EVERY == 0 or at_checkpoint or step == self.steps:  # no mean reaches over a checkpoint
            values = {name: float(_of_first_replica(value)) for name, value in logs.items()}
            if broken := [name for name, value in values.items() if not math.isfinite(value)]:
                raise UserError(
                    f"The training of stage {self.stage} diverged before step {step} ({broken[0]} is "
                    f"{values[broken[0]]}): start again with a smaller data.schedules.*.optimizer.learning_rate"
                )
            if is_chief():
                self._record(step, values)
            note = " ".join(f"{name} {value:.3f}" for name, value in values.items())
            self.meter.advance(step - self.meter.done, note)
            self.model.reset_metrics()  # on every worker: it reads what it resets, which sums over all of them
        if at_checkpoint and step < self.steps and is_chief():
            save_partial(self.directory, self.model, self.stage, step)

    def _record(self, step: int, values: dict[str, float]) -> None:
        append_metrics(self.directory.metrics, self.stage, step, values)
        with self.writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)

    def on_train_end(self, logs=None):
        self.meter.__exit__(*sys.exc_info())  # of the error that has ended it, if one has
        self.writer.close()


def train_stage(
    method: Method,
    schedule: Schedule,
    name: str,
    make_stream: Callable[[int, Share], tf.data.Dataset],
    directory: RunDirectory,
    head,
    seed: int,
    lasting: Path | None = None,
    groups: Collection[str] | None = None,
    part: Part | None = None,
    setting: str = "data.schedules.STAGE",
    before_steps: Mapping[int, Callable[[], None]] | None = None,
    **compiled,
) -> None:
    """Train `method` for `schedule.steps` steps, from a partial checkpoint if there is one.

    Args:
        schedule: length, optimiser, and the parts in which a batch is computed.
        name: of the stage: its checkpoints and metrics carry it.
        make_stream: `make_stream(first_step, share)` gives a share's part of the batches from that step to the last of
            this stage.
        head: variables that learn with the head's multiple of the learning rate.
        seed: of the run; the noise of dropout is a function of it, the name of the stage (of a part: of the whole) and
            the step.
        lasting: file of the variables that a stage before has kept for this one; groups: their names, None = all of
            the method's.
        part: which of the schedule's steps this stage makes; None = all.
        setting: where the schedule stands in the settings, for what is said about memory.
        before_steps: what is done before some of the schedule's steps, where they are made: variables of the method may
            be given other values. A run that is resumed later than at that step does not do it again.
        compiled: what else the method's `compile` takes.

    Raises:
        OutOfMemory: a step did not fit into memory.
    """
    heads = [*head, *method.trained_by_terms]
    late = method.trained_by_terms
    optimizer = build_optimizer(schedule.optimizer, schedule.steps, heads, schedule.average_weights, late)
    optimizer.build(method.trained_variables)
    method.compile(optimizer=optimizer, accumulate=schedule.accumulate, jit_compile=False, **compiled)
    part = part or Part(name, 0, schedule.steps)
    # Random generators start anew in every stage: a run resumed between two stages draws what an unbroken one does.
    # A later part goes on with their states, which are among the lasting variables.
    for number, network in enumerate(method.networks):
        restart_generators(network, seed, crc32(part.whole.encode()), number)
    if lasting is not None:
        kept = method.lasting_variables
        load_lasting(lasting, {name: kept[name] for name in (kept if groups is None else groups)})
    first_step = max(part.first, load_partial(directory, method, name))
    forget_metrics_after(directory.metrics, directory.stages, name, first_step)
    if first_step < part.last:
        callback = _StageCallback(directory, name, part.last, first_step, schedule.checkpoint_every)
        share, needs = share_of_this_process(), []
        rows = share.replica_batch(schedule.batch_size, schedule.accumulate)

        def tell_need(traced, batch) -> None:
            needs.append(need_of(traced, batch, schedule, setting, rows, method.splits))
            tell(needs[0])

        stream = make_stream(first_step, share)
        later = {step - first_step: work for step, work in (before_steps or {}).items()}
        with out_of_memory_said(lambda: sentence(needs[0] if needs else None, name)):
            train(method, stream, callback, tell_need, later)


def train(
    method: Method,
    stream: tf.data.Dataset,
    callback: keras.callbacks.Callback,
    before_first: Callable = lambda traced, batch: None,
    before: Mapping[int, Callable[[], None]] = MappingProxyType({}),
) -> None:
    """One step of `method` per global batch; `stream` holds this process' share of each.

    `before_first(traced step, first batch)` is called before the first step; `before[n]()` before the n-th, from 0.
    """
    step, batches = distributed_step(method), tf.distribute.get_strategy().distribute_datasets_from_function
    callback.set_model(method)
    callback.on_train_begin()
    try:
        for number, batch in enumerate(batches(lambda _: stream)):
            raise_unreadable()  # before a step of which a file is missing
            if number == 0:
                before_first(step.get_concrete_function(batch), batch)  # this trace is the one that the steps use
            if number in before:
                before[number]()
            callback.on_train_batch_end(number, step(batch))
        raise_unreadable()
        method.optimizer.finalize_variable_values(method.trained_variables)  # their moving average, if it is kept
    finally:
        callback.on_train_end()  # however it ends: the terminal gets its cursor back


def distributed_step(method: Method):
    """`step(batch) -> logs`: one traced `train_step` on every replica of the strategy in scope.

    Keras' `fit` builds models symbolically before its first step, which fails under `MultiWorkerMirroredStrategy`.
    """
    strategy = tf.distribute.get_strategy()
    step = lambda batch: strategy.run(method.train_step, args=(batch,))  # noqa: E731
    return tf.function(step, reduce_retracing=True, autograph=False)


def _of_first_replica(value):
    """All replicas log the same."""
    return tf.distribute.get_strategy().experimental_local_results(value)[0]
