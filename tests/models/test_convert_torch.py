"""Files of `torch.save` become safetensors without PyTorch, and nothing in them is run."""

import pickle
import re
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from models.convert_torch import Storage, Tensor, array_of, main
from tests.models.torch_file import TorchWriter, archive_of

MATRIX = np.arange(24, dtype=np.float32).reshape(4, 6)
STATE = OrderedDict(
    {
        "conv.weight": MATRIX.reshape(2, 3, 2, 2).copy(),
        "view.weight": MATRIX[1:, 2:4],  # neither at the beginning of its storage nor in one piece
        "turned.weight": MATRIX.T,
        "half.bias": np.float16([0.5, -2]),
        "count": np.array(7),
        "mask": np.array([True, False]),
    }
)


@pytest.fixture
def writer(monkeypatch):
    return TorchWriter(monkeypatch)


def converted(tmp_path, content: bytes, name: str = "model.pth") -> dict[str, np.ndarray]:
    source, target = tmp_path / name, tmp_path / "model.safetensors"
    source.write_bytes(content)
    assert main([str(source), str(target)]) == 0
    return load_file(target)


def refusal(tmp_path, capsys, content: bytes, target: str = "out.safetensors") -> str:
    source = tmp_path / "model.pth"
    source.write_bytes(content)
    assert main([str(source), str(tmp_path / target)]) == 2
    assert sorted(tmp_path.iterdir()) == [source]
    sentence = capsys.readouterr().err
    assert sentence.startswith("streetshift: ")
    assert sentence.count("\n") == 1
    return sentence


@pytest.mark.parametrize("layout", ["zipped", "older"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_every_tensor_keeps_name_kind_shape_and_numbers(writer, tmp_path, layout, wrapped):
    momentum = {"state": {0: {"momentum_buffer": MATRIX + 1}}}
    saved = {"epoch": 3, "state_dict": STATE, "optimizer": momentum} if wrapped else STATE
    found = converted(tmp_path, getattr(writer, layout)(saved))
    assert set(found) == set(STATE)
    for name, expected in STATE.items():
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected)


def test_the_torch_file_in_a_wheel_is_found(writer, tmp_path):
    wheel = archive_of({"package/__init__.py": b"", "package/models/net-123.pth": writer.older(STATE)})
    assert set(converted(tmp_path, wheel, "package-1.0-py3-none-any.whl")) == set(STATE)


def test_bfloat16_becomes_float32():
    numbers = np.array([1.5, -0.25, 3.0], np.float32)
    upper = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    found = array_of("x", Tensor(Storage("BFloat16Storage", "0", 3), 0, (3,), (1,)), upper.tobytes())
    np.testing.assert_array_equal(found, numbers)


class Runs:
    """Would write a file when it is unpickled by `pickle.load`."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, capsys):
    mark = tmp_path / "was_run"
    content = archive_of({"archive/data.pkl": pickle.dumps({"weight": Runs(mark)})})
    assert re.search(r"it holds an object of pathlib\S*\.Path\.touch", refusal(tmp_path, capsys, content))
    assert not mark.exists()


@pytest.mark.parametrize("layout", ["zipped", "older"])
def test_half_a_file_is_refused(writer, tmp_path, capsys, layout):
    content = getattr(writer, layout)(STATE)
    assert "download or save it again" in refusal(tmp_path, capsys, content[: len(content) // 2])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not a whole file of torch.save"),
        (b"not weights at all, only text", "is not a whole file of torch.save"),
        (pickle.dumps([1, 2]), "does not begin as a file of torch.save does"),
        (archive_of({"archive/data.pkl": pickle.dumps({"epoch": 3})}), "it holds no tensors by name"),
        (archive_of({"archive/data.pkl": pickle.dumps([3])}), "it holds no tensors by name"),
        (archive_of({"a.pth": b"", "b.pth": b""}), "an archive with 2 files of PyTorch in it, not one"),
    ],
)
def test_other_files_are_refused_in_one_sentence(tmp_path, capsys, content, reason):
    assert reason in refusal(tmp_path, capsys, content)


@pytest.mark.parametrize(("offset", "shape", "strides"), [(0, (3, 2), (2, 2)), (5, (2,), (1,)), (3, (2,), (-1,))])
def test_a_tensor_beyond_its_storage_is_refused(offset, shape, strides):
    """Else memory of this process would be written out as weights."""
    tensor = Tensor(Storage("FloatStorage", "0", 6), offset, shape, strides)
    with pytest.raises(ValueError, match="w does not fit the bytes"):
        array_of("w", tensor, struct.pack("<6f", *range(6)))


def test_the_target_has_to_be_a_writable_safetensors_file(writer, tmp_path, capsys):
    assert "the file to write must end in .safetensors" in refusal(tmp_path, capsys, writer.zipped(STATE), "out.pth")
    assert "cannot be written (No such file" in refusal(tmp_path, capsys, writer.zipped(STATE), "no/out.safetensors")
