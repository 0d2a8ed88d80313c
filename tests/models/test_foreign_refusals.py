"""Files that do not fit are refused in one sentence, and the network stays as it was."""

import shlex

import keras
import numpy as np
import pytest

from models.catalogue import NETWORKS
from models.convert_torch import main
from models.foreign_names import AUTHORS_PARTS, MODULE_PARTS, PUBLISHED_PARTS
from models.foreign_weights import load_foreign_weights
from models.segmenter import build_segmenter
from models.weights import WeightsError, load_weights
from tests.models.foreign_files import File, bottlenecks, mit_file, mobilenet_file, published_file, refused
from tests.models.torch_file import TorchWriter

SCHEMES = pytest.mark.parametrize(
    "parts", [PUBLISHED_PARTS, MODULE_PARTS, AUTHORS_PARTS], ids=["published", "modules", "authors"]
)


@pytest.fixture(scope="module")
def network():
    return build_segmenter("segformer_mit_b0", 19)


@pytest.fixture(scope="module")
def mobilenet():
    return build_segmenter("deeplab_v2_mobilenet_v2_035", 11)


@SCHEMES
def test_another_width_is_refused(network, tmp_path, parts):
    file = mit_file(parts, channels=(64, 128, 320, 512))  # MiT-B1
    sentence = refused(network, file.save(tmp_path), "of another size than SegFormer, MiT-B0")
    assert "stage1_embed is (7, 7, 3, 64) there and (7, 7, 3, 32) here" in sentence


@SCHEMES
@pytest.mark.parametrize(
    ("depths", "difference"), [((2, 2, 3, 2), "has no counterpart here"), ((2, 2, 1, 2), "it lacks stage3_block2")]
)
def test_another_depth_is_refused(network, tmp_path, parts, depths, difference):
    refused(network, mit_file(parts, depths=depths).save(tmp_path), f"of another size than .*{difference}")


def test_another_width_of_mobilenet_is_refused(tmp_path, mobilenet):
    file = mobilenet_file(bottlenecks(build_segmenter("deeplab_v2_mobilenet_v2", 11)))
    refused(mobilenet, file.save(tmp_path), "a MobileNetV2 in timm's names, but of another size")


def test_another_architecture_is_refused(network, mobilenet, tmp_path):
    sentence = "holds a Mix Transformer in Hugging Face's names, and DeepLab-v2, MobileNetV2 0.35 has no such backbone"
    refused(mobilenet, published_file().save(tmp_path, "mit.safetensors"), sentence)
    file = mobilenet_file(bottlenecks(mobilenet)).save(tmp_path, "mobilenet.safetensors")
    refused(network, file, "a MobileNetV2 in timm's names, and SegFormer, MiT-B0 has no such backbone")


def test_resnets_of_torch_are_refused_with_the_reason(tmp_path):
    file = File()
    file.add("layer1.0.conv1", 64, 64, 1, 1, bias=False)
    with keras.StatelessScope():  # without values: nothing could be loaded
        network = build_segmenter("deeplab_v2_resnet50", 3)
    with pytest.raises(WeightsError, match="halve the map in the 3x3 convolution of a stage's first block") as caught:
        load_weights(network, file.save(tmp_path))
    assert "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5" in str(caught.value)


def test_a_network_without_published_weights_gets_its_own_reason_and_advice(network, tmp_path):
    file = File()
    file.add("layer1.0.conv1", 64, 64, 3, 3, bias=False)
    with pytest.raises(WeightsError, match=r"normalise behind each convolution, DeepLab.*: pass --weights none$"):
        load_foreign_weights(network, NETWORKS["deeplab_v2_resnet18_v2"], file.save(tmp_path))


def test_efficientnets_of_timm_are_not_called_a_mobilenet(network, tmp_path):
    file = File()
    for place in ("0.0", "5.3"):
        file.add(f"blocks.{place}.conv_dw", 8, 1, 3, 3, bias=False)
    path = file.save(tmp_path)
    refused(network, path, "an EfficientNet or a deeper MobileNetV2 in timm's names, and SegFormer, MiT-B0 has no such")
    with pytest.raises(WeightsError, match="is read in the names of efficientnet_pytorch alone: pass --weights imag"):
        load_foreign_weights(network, NETWORKS["deeplab_v3plus_efficientnet_lite0"], path)


def test_unknown_names_are_refused(network, tmp_path):
    file = File()
    file.add("trunk.first", 8, 3, 3, 3)
    refused(
        network, file.save(tmp_path), r"no names that are known here \(its first is trunk.first.bias\): expected a Mix"
    )
    refused(network, File().save(tmp_path), "it is empty")


def test_several_networks_in_one_file_are_refused(network, tmp_path):
    file = mit_file({part: f"model.{name}" for part, name in AUTHORS_PARTS.items()})
    file.tensors |= {name.replace("model.", "ema_model."): values for name, values in file.tensors.items()}
    refused(network, file.save(tmp_path), r"holds 2 networks \(their tensors begin with ema_model\., model\.\)")


@pytest.mark.parametrize("content", [b"", b"not weights at all, only text", "half"])
def test_a_damaged_file_is_refused(network, tmp_path, content):
    whole = published_file().save(tmp_path)
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2] if content == "half" else content)
    refused(network, path, "damaged.safetensors is not a whole safetensors file")


def test_numbers_that_are_not_finite_are_refused(network, tmp_path):
    file = published_file()
    file.tensors["segformer.encoder.layer_norm.2.bias"][5] = np.nan
    refused(network, file.save(tmp_path), "numbers in segformer.encoder.layer_norm.2.bias that are not finite")


@pytest.mark.parametrize("name", ["mit_b0.pth", "pytorch_model.bin", "weights"])
def test_a_pickle_is_refused_with_the_command_that_converts_it(network, tmp_path, monkeypatch, name):
    path = tmp_path / name
    path.write_bytes(TorchWriter(monkeypatch).zipped(mit_file(AUTHORS_PARTS).tensors))
    (command,) = refused(network, path, "is a pickle of PyTorch").split("`")[1::2]
    python, script, *arguments = shlex.split(command)
    assert (python, script) == ("python", "models/convert_torch.py")
    assert main(arguments) == 0
    report = load_weights(network, path.with_suffix(".safetensors"))
    assert (report.kind, report.unexpected) == ("backbone", ())
