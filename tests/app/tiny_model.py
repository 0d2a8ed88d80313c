"""Exported models small enough to write by hand: every pixel gets the class whose colour is nearest.

A picture painted in the classes' colours is therefore segmented exactly, and what each endpoint must answer is known.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from training.prediction.model_metadata import METADATA_KEY, ModelMetadata, RoundSelection
from training.pseudo_labels import ClassBalancedSelector
from training.pseudo_labels.thresholds import ThresholdFitted

NAMES = ("road", "sidewalk", "sky", "car", "tree <b>")  # the last one would be a tag if names were not escaped
COLOURS = ((128, 64, 128), (244, 35, 232), (70, 130, 180), (0, 0, 142), (107, 142, 35))
STRIDE = 4
TRAINING_SIZE = (64, 128)
SOFTNESS = 2 * 40.0**2  # of the logits, in squared grey values


def painted(label: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] that the tiny model segments as `label`, up to its coarse grid."""
    return np.array(COLOURS, np.uint8)[label]


def street(height: int = 64, width: int = 128) -> np.ndarray:
    """Labels of a street: sky above, road below, a car on it, all on the grid of the model."""
    label = np.full((height, width), 2, np.uint8)
    label[height // 2 :] = 0
    label[height // 2 : 3 * height // 4, width // 4 : width // 2] = 3
    return label


def write_tiny_model(path: Path, *, confuses_car: bool = False, adapted: bool = True) -> Path:
    """Write the model; one that `confuses_car` takes cars for road, as a source model might."""
    model = helper.make_model(_graph(confuses_car), opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    helper.set_model_props(model, {METADATA_KEY: _metadata(adapted).to_json()})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def _graph(confuses_car: bool) -> onnx.GraphProto:
    colours = np.array(COLOURS, np.float32)
    kernel, bias = 2 * colours / SOFTNESS, -(colours**2).sum(axis=1) / SOFTNESS
    if confuses_car:
        kernel[[0, 3]], bias[[0, 3]] = kernel[[3, 0]], bias[[3, 0]]
    constants = {
        "kernel": kernel[:, :, None, None],
        "bias": bias,
        "channels": np.array([len(NAMES)], np.int64),
        "batch_at": np.array([0], np.int64),
        "size_at": np.array([1, 2], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["numbers"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool", ["planes"], ["coarse"], kernel_shape=[STRIDE] * 2, strides=[STRIDE] * 2, ceil_mode=1
        ),
        helper.make_node("Conv", ["coarse", "kernel", "bias"], ["scores"]),
        helper.make_node("Transpose", ["scores"], ["logits"], perm=[0, 2, 3, 1]),
        helper.make_node("Softmax", ["scores"], ["coarse_probs"], axis=1),
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Gather", ["shape", "batch_at"], ["batch"]),
        helper.make_node("Gather", ["shape", "size_at"], ["size"]),
        helper.make_node("Concat", ["batch", "channels", "size"], ["whole"], axis=0),
        helper.make_node("Resize", ["coarse_probs", "", "", "whole"], ["probs"], mode="linear"),
        helper.make_node("ReduceMax", ["probs"], ["confidence"], axes=[1], keepdims=0),
        helper.make_node("ArgMax", ["probs"], ["ids"], axis=1, keepdims=0),
        helper.make_node("Cast", ["ids"], ["labels"], to=TensorProto.UINT8),
    ]
    return helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", "height", "width", 3])],
        [
            helper.make_tensor_value_info("labels", TensorProto.UINT8, ["batch", "height", "width"]),
            helper.make_tensor_value_info("confidence", TensorProto.FLOAT, ["batch", "height", "width"]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "rows", "columns", len(NAMES)]),
        ],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )


def _metadata(adapted: bool) -> ModelMetadata:
    zeros = np.zeros(len(NAMES), np.int64)
    selector = ClassBalancedSelector(portion=0.3, stride=2, prior=np.ones((8, 16, len(NAMES)), np.float32))
    fitted = ThresholdFitted(selector, np.full(len(NAMES), 0.9, np.float32), zeros, 1, zeros)
    side = {"miou": 40.0, "pixel_accuracy": 80.0, "per_class_iou": {}, "class_sets": {}}
    return ModelMetadata(
        names=NAMES,
        colors=COLOURS,
        label_space="tiny",
        class_sets={"5": tuple(range(5))},
        training_size=TRAINING_SIZE,
        output_stride=STRIDE,
        network="tiny",
        recipe="cbst_sp",
        paper="",
        data="painted",
        source="painted <game>",
        target="painted city",
        stage="final" if adapted else "source",
        precision="fp32",
        metrics={"split": "val", "resolution": list(TRAINING_SIZE), "before": side, "after": side | {"miou": 60.0}},
        selection=RoundSelection("round_1", fitted) if adapted else None,
        version="0",
        licence="",
        weights_of="of round 1 of 1" if adapted else "before adaptation",
        trained_on_target=adapted,
    )
