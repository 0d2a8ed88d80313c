"""Where ONNX Runtime computes: CUDA where it works, else the CPU."""

import ctypes

import onnxruntime

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def usual_providers() -> list[str]:
    """CUDA, if ONNX Runtime was built with it and a driver is there, with the CPU behind it; else the CPU.

    ONNX Runtime lists CUDA on any machine and prints an alarming error when it then finds no driver.
    """
    if CUDA in onnxruntime.get_available_providers() and _driver_present():
        return [CUDA, CPU]
    return [CPU]


def _driver_present() -> bool:
    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return False
