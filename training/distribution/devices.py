"""Where a run computes: one device, several of this machine, or several machines. It never changes what is computed.

1. `--devices auto` takes all GPUs there are, or as many as divide the run's batches evenly, or the CPU; a worker all.
   `cpu` leaves GPUs alone; `gpu:0,1` names them. Several devices train as replicas (`MirroredStrategy`). `cpu:0,1`
   splits the CPU into two logical devices: to try all this without a GPU.
2. `TF_CONFIG` in the environment makes this process one of several workers (`MultiWorkerMirroredStrategy`), each with
   its own `--devices`. All are started with the same command and see the same run directory and data.
3. `batch_size` is that of the global batch, whatever the number of replicas, which must divide it. So the learning rate
   stays as it is; who enlarges the batch to use more devices scales `optimizer.learning_rate` in proportion (SGD) or by
   the square root (AdamW), and sets `optimizer.ramp_steps`.
4. The stream of batches is a function of seed and step; replica r of n takes the r-th part of the rows, so order and
   augmentation are those of one device. Training streams have no end within a stage: there is no uneven last batch.
   Dropout: replica r takes its rows of one noise for the whole batch. Where source and target pass together, these rows
   stand in another order than on one device, so that with dropout the result is equal in distribution only.
5. Losses are means over the global batch, gradients are summed before they are clipped, batch-norm statistics are those
   of the global batch: the weights are those of one device up to rounding.
6. Labelling and evaluation use the first device of each worker; workers share the images and add up their histograms
   and confusion matrices, so the labels are byte for byte those of one device. The selector `ias` depends on the order
   of the images: the chief alone labels, in name order.
7. Worker 0, the chief, writes the run directory. When a worker is lost the others end with a sentence; all are started
   again with --resume.
"""

import glob
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from training.errors import UserError

if TYPE_CHECKING:  # NumPy would double the time of --help
    from training.distribution.shares import Share
    from training.settings.schedule import Schedule


@dataclass(frozen=True)
class Devices:
    """What `--devices` says; no numbers = one CPU, or all GPUs."""

    kind: Literal["auto", "cpu", "gpu"] = "auto"
    numbers: tuple[int, ...] = ()


def parse_devices(text: str) -> Devices:
    """`auto`, `cpu`, `gpu`, `cpu:0,1` or `gpu:0,1`.

    Raises:
        UserError: anything else.
    """
    match = re.fullmatch(r"(auto|cpu|gpu)|(cpu|gpu):(\d{1,3}(?:,\d{1,3})*)", text)
    if match is None:
        raise UserError(f"--devices {text}: expected auto, cpu, gpu, or numbers such as gpu:0,1")
    if match[1]:
        return Devices(match[1])
    numbers = tuple(int(number) for number in match[3].split(","))
    if len(set(numbers)) < len(numbers):
        raise UserError(f"--devices {text}: a device is named twice")
    return Devices(match[2], numbers)


def open_devices(devices: Devices, schedules: "Sequence[Schedule]" = ()):
    """The `tf.distribute` strategy for these devices; call it before TensorFlow has computed anything.

    schedules: of the run; with `auto` no more GPUs are taken than can share the batches.

    Raises:
        UserError: a GPU that is not there, a TF_CONFIG that does not describe workers, logical CPUs of a worker.
    """
    import tensorflow as tf

    several_cpus = devices.kind == "cpu" and len(devices.numbers) > 1
    present = tf.config.list_physical_devices("GPU")
    chosen = [] if devices.kind == "cpu" else _gpus(present, devices)
    if devices.kind == "auto" and worker_count() == 1:
        chosen = chosen[: _most_that_share(len(chosen), schedules)]
    if chosen != present:
        tf.config.set_visible_devices(chosen, "GPU")
    if worker_count() > 1:
        if several_cpus:
            raise UserError("--devices: a worker (TF_CONFIG is set) has one CPU; give --devices cpu or its GPUs")
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(chosen) > 1:
        return tf.distribute.MirroredStrategy()
    return _logical_cpus(devices.numbers) if several_cpus else tf.distribute.get_strategy()


def _most_that_share(devices: int, schedules: "Sequence[Schedule]") -> int:
    """As many of the devices as divide the batches of all schedules evenly; it says where that is not all."""
    fitting = [
        count
        for count in range(1, devices + 1)
        if not any(schedule.batch_size % (count * schedule.accumulate) for schedule in schedules)
    ]
    most = max(fitting, default=devices)
    if most < devices:
        from training.progress import console

        sizes = ", ".join(str(size) for size in sorted({schedule.batch_size for schedule in schedules}))
        console.print(
            f"{most} of the {devices} GPUs compute{'s' * (most == 1)}, for batches of {sizes} images cannot be divided "
            "evenly over more: larger batches use more (data.schedules.STAGE.batch_size)"
        )
    return most


def worker_count() -> int:
    """Workers that TF_CONFIG names; 1 without it."""
    return max(1, len(_tf_config()["cluster"]["worker"]))


def is_chief() -> bool:
    """Whether this is the process that writes the run directory: the only one, or worker 0."""
    return _tf_config()["task"]["index"] == 0


def _tf_config() -> dict:
    """TF_CONFIG as `{"cluster": {"worker": [addresses]}, "task": {"type": "worker", "index": number}}`.

    Raises:
        UserError: it is something else.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return {"cluster": {"worker": []}, "task": {"type": "worker", "index": 0}}
    try:
        config = json.loads(text)
        if set(config["cluster"]) == {"worker"} and config["task"]["type"] == "worker":
            config["cluster"]["worker"][config["task"]["index"]]
            return config
    except (ValueError, KeyError, IndexError, TypeError):
        pass
    raise UserError(
        'TF_CONFIG does not describe this worker: expected {"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, '
        '"task": {"type": "worker", "index": 0}}, with another index on each machine'
    )


def _gpus(present: list, devices: Devices) -> list:
    if devices.kind == "gpu" and not present:
        raise UserError("--devices gpu: TensorFlow finds no GPU here; use --devices cpu, or install its CUDA libraries")
    if not present and glob.glob("/dev/nvidia[0-9]*"):
        _tell_of_unseen_gpu()
    missing = [number for number in devices.numbers if number >= len(present)]
    if missing:
        raise UserError(f"--devices gpu: there is no GPU {missing[0]}; this machine has 0 to {len(present) - 1}")
    return [present[number] for number in devices.numbers] if devices.numbers else present


def _tell_of_unseen_gpu() -> None:
    from training.progress import console

    console.print(
        "This machine has an NVIDIA GPU that TensorFlow does not see, so the CPU computes; the CUDA libraries come "
        "with pip install 'tensorflow[and-cuda]~=2.21.0'",
        style="yellow",
    )


def _logical_cpus(numbers: tuple[int, ...]):
    import tensorflow as tf

    parts = [tf.config.LogicalDeviceConfiguration()] * (max(numbers) + 1)
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    return tf.distribute.MirroredStrategy([f"CPU:{number}" for number in numbers])


def share_of_this_process() -> "Share":
    """The part of the work that falls to this process under the strategy in scope."""
    import tensorflow as tf

    from training.distribution.shares import Share

    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return Share(replicas=replicas)
    processes = worker_count()
    return Share(strategy.cluster_resolver.task_id, processes, replicas // processes)
