"""One stage of training: `fit` with progress, metrics, pictures of the loss, and a checkpoint every so often."""

from collections.abc import Callable

import keras
import tensorflow as tf

from training.checkpoint import load_partial, save_partial
from training.methods.optimizers import build_optimizer
from training.metrics_file import append_metrics, forget_metrics_after
from training.progress import Meter
from training.run_directory import RunDirectory
from training.settings import Stage

LOG_EVERY = 25  # steps


class _StageCallback(keras.callbacks.Callback):
    """Progress, metrics.csv, TensorBoard scalars and partial checkpoints of one stage."""

    def __init__(self, directory: RunDirectory, stage: str, steps: int, first_step: int, checkpoint_every: int):
        super().__init__()
        self.directory, self.stage, self.first_step = directory, stage, first_step
        self.steps, self.checkpoint_every = steps, checkpoint_every
        self.meter = Meter(f"training {stage}", steps, first_step)

    def on_train_begin(self, logs=None):
        self.writer = tf.summary.create_file_writer(str(self.directory.tensorboard / self.stage))
        self.meter.__enter__()

    def on_train_batch_end(self, batch, logs=None):
        step = self.first_step + batch + 1
        at_checkpoint = step % self.checkpoint_every == 0
        if step % LOG_EVERY == 0 or at_checkpoint or step == self.steps:  # no mean reaches over a checkpoint
            values = {name: float(value) for name, value in logs.items()}
            self._record(step, values)
            note = " ".join(f"{name} {value:.3f}" for name, value in values.items())
            self.meter.advance(step - self.meter.done, note)
            self.model.reset_metrics()
        if at_checkpoint and step < self.steps:
            save_partial(self.directory, self.model, self.stage, step)

    def _record(self, step: int, values: dict[str, float]) -> None:
        append_metrics(self.directory.metrics, self.stage, step, values)
        with self.writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)

    def on_train_end(self, logs=None):
        self.writer.close()
        self.meter.__exit__(None, None, None)


def train_stage(
    model,
    stage: Stage,
    name: str,
    make_stream: Callable[[int], tf.data.Dataset],
    directory: RunDirectory,
    head,
    **compiled,
) -> None:
    """Train `model` (a method of `training/methods`) for `stage.steps` steps, from a partial checkpoint if any.

    Args:
        make_stream: `make_stream(first_step)` gives the batches from that step on.
        head: variables that learn with the head's multiple of the learning rate.
        compiled: what else the method's `compile` takes.
    """
    optimizer = build_optimizer(stage.optimizer, stage.steps, head, stage.average_weights)
    optimizer.build(model.network.trainable_variables)
    model.compile(optimizer=optimizer, jit_compile=False, **compiled)
    first_step = load_partial(directory, model, name)
    forget_metrics_after(directory.metrics, directory.stages, name, first_step)
    if first_step < stage.steps:
        callback = _StageCallback(directory, name, stage.steps, first_step, stage.checkpoint_every)
        model.fit(make_stream(first_step), epochs=1, verbose=0, shuffle=False, callbacks=[callback])
