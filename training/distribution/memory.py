"""Memory of this process."""

import sys


def peak_memory() -> int:
    """The largest resident memory of the process so far, in bytes."""
    import psutil

    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
