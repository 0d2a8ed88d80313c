"""What is said about memory before a stage trains, and when there was too little: needed, free, and what to set."""

from dataclasses import dataclass

import keras
import tensorflow as tf

from training.distribution.devices import is_chief
from training.distribution.memory import free_memory, free_on_gpu, gigabytes
from training.distribution.step_memory import StepMemory, step_memory
from training.progress import console
from training.settings.schedule import Schedule


@dataclass(frozen=True)
class Need:
    """What a step needs on one device, beside what that device has for it.

    device: for people. room: bytes that are free or hold the step's own variables; None = not known. rows: images of
    one replica. size: height and width of a training image. setting: where the schedule stands in the settings. splits:
    whether a step can be computed in parts.
    """

    step: StepMemory
    device: str
    room: int | None
    rows: int
    size: tuple[int, int]
    schedule: Schedule
    setting: str
    splits: bool = True

    @property
    def fits(self) -> bool:
        return self.room is None or self.step.total <= self.room

    def __str__(self) -> str:
        """The two numbers, as half a sentence."""
        fixed = self.step.variables + self.step.program
        parts = f"activations {gigabytes(self.step.activations)}, weights and optimiser {gigabytes(fixed)}"
        has = "does not tell what is free" if self.room is None else f"has {gigabytes(self.room)} for it"
        return f"a step needs about {gigabytes(self.step.total)} ({parts}); {self.device} {has}"

    def advice(self) -> str:
        """What to set where it does not fit, with values that would."""
        first = [f"end other programs that use {self.device}"]
        # As published, in parts: the same result, so the run itself may go on with it.
        if self.splits and (parts := self._parts_that_fit()):
            first.append(f"--set {self.setting}.accumulate={parts} (the same result, also with --resume)")
        # Smaller steps: another result, so another run.
        part = next((part for part in _SMALLER if self._fits_with(part, False)), _SMALLER[-1])
        height, width = (max(64, int(side * part**0.5) // 32 * 32) for side in self.size)
        other = [f"training images of at most {height}x{width} (--size or data.crop)"]
        if self.rows > 1:
            other.insert(0, f"{self.setting}.batch_size={max(1, int(self.schedule.batch_size * part))}")
        if keras.mixed_precision.dtype_policy().name == "float32":
            other.append("model.precision=mixed_bfloat16")
        return f"{' or '.join(first)}; or begin another run with {' or '.join(other)}"

    def _parts_that_fit(self) -> int | None:
        now = self.schedule.accumulate
        possible = [parts for parts in range(now + 1, self.rows + 1) if self.rows % parts == 0]
        return next((parts for parts in possible if self._fits_with(now / parts, True)), None)

    def _fits_with(self, part: float, accumulated: bool) -> bool:
        """Would it with this part of the rows, in nine tenths of the room? Half of them where it should have fitted."""
        if self.fits:
            return part <= 1 / 2
        return self.step.with_part(part, accumulated) <= 0.9 * self.room


_SMALLER = (3 / 4, 1 / 2, 3 / 8, 1 / 4, 1 / 8, 1 / 16)  # of the batch


def need_of(traced, batch, schedule: Schedule, setting: str, rows: int, splits: bool = True) -> Need:
    """Of the device that is nearest to its limit.

    Args:
        traced: the concrete function of the step, on all replicas of this process.
        batch: one batch, or one per replica: its images tell the size.
        rows: images of one replica.
        splits: whether the method can compute a step in parts.
    """
    image = next(part for part in tf.nest.flatten(batch, expand_composites=True) if part.shape.rank == 4)
    common = (rows, tuple(image.shape[1:3]), schedule, setting, splits)
    at_once = rows // schedule.accumulate
    gpus = _gpus()
    if not gpus:  # several logical CPUs share the memory of the machine
        step = step_memory(traced, at_once)
        return Need(step, "this machine", free_memory() + step.variables, *common)
    needs = []
    for gpu in gpus:
        step, free = step_memory(traced, at_once, gpu), free_on_gpu(gpu)
        needs.append(Need(step, gpu, None if free is None else free + step.variables, *common))
    return max(needs, key=lambda need: need.step.total - (need.room or 0))


def _gpus() -> list[str]:
    """The GPUs of this process that train, such as "GPU:0"; none where the CPU does."""
    strategy = tf.distribute.get_strategy()
    gpus = [gpu.name.rpartition("device:")[2] for gpu in tf.config.list_logical_devices("GPU")]
    if strategy.num_replicas_in_sync == 1:
        return gpus[:1]
    used = {name.upper().rpartition("DEVICE:")[2] for name in strategy.extended.worker_devices}
    return [gpu for gpu in gpus if gpu in used]


def tell(need: Need) -> None:
    """One line, and where the step may not fit another one."""
    if not is_chief():
        return
    console.print(f"  {need}")
    if not need.fits:
        ends = ": the system may end this program without a word" if need.device == "this machine" else ""
        console.print(f"WARNING: a step may not fit into memory{ends}. To be safe, {need.advice()}", style="bold red")


def sentence(need: Need | None, stage: str) -> str:
    """For the error that ends a stage."""
    if need is None:
        free = f"{gigabytes(free_memory())} of this machine are free"
        return f"out of memory before the first step of stage {stage} ({free}): end other programs"
    return f"out of memory in stage {stage}: {need}: {need.advice()}"
