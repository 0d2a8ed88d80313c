"""What a process holds."""

from training.distribution.memory import peak_memory


def peak_mib() -> float:
    """The most memory this process has held so far, in MiB."""
    return peak_memory() / 2**20
