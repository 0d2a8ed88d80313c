"""TensorFlow without its messages at the start: a dozen lines about drivers hide the one line a user needs."""

import contextlib
import gc
import logging
import os
import platform
from collections.abc import Iterator, Sequence

from training.distribution.devices import Devices, open_devices
from training.settings.schedule import Schedule


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Send file descriptor 2 nowhere: the C++ logger of TensorFlow 2.21 ignores TF_CPP_MIN_LOG_LEVEL while starting."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def start_tensorflow(devices: Devices | None = None, schedules: Sequence[Schedule] = ()):
    """Import TensorFlow and look for devices in silence; errors of the import are raised.

    With `devices`, a run's: open them; their `tf.distribute` strategy. schedules: of that run.
    """
    if platform.machine().lower() in ("x86_64", "amd64"):
        # By itself TensorFlow uses oneDNN on processors with AVX-512 alone. With AVX2 it is 1.3 times as fast, too.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with silent_stderr():
        import tensorflow as tf

        strategy = None if devices is None else open_devices(devices, schedules)
        tf.config.list_logical_devices()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    gc.freeze()  # 360,000 objects that live to the end: the collector need not check them again and again
    return strategy
