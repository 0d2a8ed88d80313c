"""What a process holds in memory."""

import sys


def peak_memory() -> int:
    """The most memory that this process has held at once, in bytes; child processes do not count."""
    try:
        import resource  # not on Windows
    except ImportError:
        import psutil  # which has no peak elsewhere

        return psutil.Process().memory_info().peak_wset
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
