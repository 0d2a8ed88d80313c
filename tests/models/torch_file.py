"""Files as `torch.save` writes them, in both layouts, made without PyTorch."""

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from models.convert_torch import OLDER_MAGIC

KINDS = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage", "bool": "BoolStorage"}


class TorchWriter:
    """Pickles dictionaries whose arrays become tensors; every array is one storage."""

    def __init__(self, patch: pytest.MonkeyPatch):
        torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
        utils._rebuild_tensor_v2 = named(lambda *_: None, "torch._utils", "_rebuild_tensor_v2")
        for kind in KINDS.values():
            setattr(torch, kind, named(type(kind, (), {}), "torch", kind))
        for name, module in (("torch", torch), ("torch._utils", utils)):
            patch.setitem(sys.modules, name, module)
        self.torch, self.rebuild, self.storages = torch, utils._rebuild_tensor_v2, {}

    def pickled(self, value, *view) -> bytes:
        """`view` is what older files add to the description of a storage."""
        writer, buffer = self, io.BytesIO()

        class Pickler(pickle.Pickler):
            def persistent_id(self, found):
                return found.value if isinstance(found, Described) else None

            def reducer_override(self, found):
                if not isinstance(found, np.ndarray):
                    return NotImplemented
                key = str(100 + len(writer.storages))
                writer.storages[key] = found.base if found.base is not None else found
                whole = writer.storages[key]
                kind = getattr(writer.torch, KINDS[str(found.dtype)])
                offset = (found.__array_interface__["data"][0] - whole.__array_interface__["data"][0]) // whole.itemsize
                strides = tuple(stride // found.itemsize for stride in found.strides)
                storage = Described(("storage", kind, key, "cpu", whole.size, *view))
                return writer.rebuild, (storage, offset, found.shape, strides, False, OrderedDict())

        Pickler(buffer, protocol=2).dump(value)
        return buffer.getvalue()

    def zipped(self, value) -> bytes:
        content = self.pickled(value)
        return archive_of(
            {"archive/data.pkl": content, **{f"archive/data/{key}": raw(v) for key, v in self.storages.items()}}
        )

    def older(self, value) -> bytes:
        content = self.pickled(value, None)
        parts = [pickle.dumps(part, protocol=2) for part in (OLDER_MAGIC, 1001, {"little_endian": True})]
        parts += [content, pickle.dumps(sorted(self.storages, reverse=True), protocol=2)]
        for _, whole in sorted(self.storages.items(), reverse=True):
            parts.append(whole.size.to_bytes(8, "little") + raw(whole))
        return b"".join(parts)


class Described:
    """A storage as a pickle refers to it."""

    def __init__(self, value: tuple):
        self.value = value


def raw(array: np.ndarray) -> bytes:
    return array.tobytes()


def named(value, module: str, name: str):
    value.__module__, value.__qualname__, value.__name__ = module, name, name
    return value


def archive_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()
