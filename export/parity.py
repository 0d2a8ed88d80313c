"""Does the exported file say what the network says? Measured on real frames before a file is written."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf

from export.onnx_graph import ALL, INPUT, Form
from training.data.input_pipeline import evaluation_stream
from training.data.samples import Dataset
from training.errors import UserError
from training.evaluation.confusion import Confusion
from training.evaluation.tables import told_miou
from training.prediction.predictor import Predictor, enlarged_label, images_at_once
from training.probability_maps.enlarging import Enlarged
from training.probability_maps.scores import best_class, softmax

FP32_DIFFERENCE = 1e-3  # of a logit; of logits beyond +-10 a ten-thousandth of the largest, float32's rounding
LEAST_AGREEMENT = {"fp32": 0.9999, "fp16": 0.99, "int8": 0.9}
REPEATS = 5


@dataclass(frozen=True)
class Parity:
    """How an ONNX model compares with the Keras network it was made from.

    difference: largest of a logit. largest_logit: the largest magnitude of a Keras logit. agreement: share of the
    pixels with the same label, 0..1.
    """

    frames: int
    pixels: int
    difference: float
    largest_logit: float
    agreement: float


def measured_parity(
    predictor: Predictor, session: onnxruntime.InferenceSession, frames: Sequence[np.ndarray], form: Form = ALL
) -> Parity:
    """Run both on every frame (uint8 [h, w, 3], any sizes) and compare logits and labels.

    The labels of a model that gives only logits are what Keras' are made of: enlarged probabilities.
    """
    difference, largest, equal, pixels = 0.0, 0.0, 0, 0
    for frame in frames:
        expected = predictor.logits(tf.cast(frame[None], tf.float32))
        expected_label = enlarged_label(tf.nn.softmax(expected), frame.shape[:2]).numpy()
        labels, logits = labels_and_logits(session, frame, form)
        difference = max(difference, float(np.abs(expected - logits).max()))
        largest = max(largest, float(np.abs(expected).max()))
        equal += int(np.count_nonzero(expected_label == labels))
        pixels += labels.size
    return Parity(len(frames), pixels, difference, largest, equal / pixels)


def labels_and_logits(
    session: onnxruntime.InferenceSession, frame: np.ndarray, form: Form
) -> tuple[np.ndarray, np.ndarray]:
    """Labels uint8 [1, h, w] and logits float32 [1, ?, ?, classes] of one frame uint8 [h, w, 3]."""
    image = form.image_of(frame[None])
    if "labels" in form.outputs:
        return tuple(session.run(["labels", "logits"], {INPUT: image}))
    logits = form.on_grid(session.run(["logits"], {INPUT: image})[0])
    return enlarged_label(softmax(logits), frame.shape[:2]).numpy(), logits


def check_parity(parity: Parity, precision: str) -> None:
    """Raise UserError where a file of this precision must not be written."""
    allowed = FP32_DIFFERENCE * max(1.0, parity.largest_logit / 10)
    if parity.agreement < LEAST_AGREEMENT[precision]:
        advice = "export as fp32" if precision != "fp32" else "please report it with the run's recipe.json"
        raise UserError(
            f"The {precision} file would agree with Keras on the labels of {parity.agreement:.2%} of the pixels, less "
            f"than {LEAST_AGREEMENT[precision]:.2%}, so it was not written: {advice}."
        )
    if precision == "fp32" and not parity.difference <= allowed:
        raise UserError(
            f"The exported logits differ from those of Keras by up to {parity.difference:.2g}, more than "
            f"{allowed:.2g}, so no file was written: please report it with the run's recipe.json."
        )


def session_of(model: onnx.ModelProto, form: Form = ALL) -> onnxruntime.InferenceSession:
    """The model of this form loaded by ONNX Runtime on the CPU, as from its file.

    Raises:
        onnx.checker.ValidationError: the model breaks a rule of ONNX.
    """
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    if (outputs := [output.name for output in session.get_outputs()]) != list(form.outputs):
        raise ValueError(f"outputs {outputs} instead of {list(form.outputs)}")
    return session


@dataclass(frozen=True)
class Scores:
    """mIoU in percent, over the classes in the truth, of the Keras network and the ONNX model on labelled images."""

    keras: float
    onnx: float
    images: int


def compared_scores(
    predictor: Predictor,
    session: onnxruntime.InferenceSession,
    dataset: Dataset | None,
    size: tuple[int, int],
    form: Form = ALL,
) -> Scores | None:
    """Score both as `training/evaluation/scoring.py` does: images brought to `size`, labels at their own.

    None without labelled images, or where all their pixels are ignored.
    """
    if dataset is None:
        return None
    counts = Confusion(dataset.label_space.count), Confusion(dataset.label_space.count)
    for batch in evaluation_stream(dataset, size, images_at_once(size)):
        keras_probs = predictor.coarse_probs(batch["image"])
        images = tf.cast(batch["image"], tf.uint8).numpy()
        for row, index in enumerate(batch["index"].numpy()):
            label = dataset.read_label(int(index))
            logits = form.on_grid(session.run(["logits"], {INPUT: form.image_of(images[row : row + 1])})[0])
            for confusion, probs in zip(counts, (keras_probs[row : row + 1], softmax(logits)), strict=True):
                confusion.add(label, best_class(Enlarged(np.asarray(probs)[0], label.shape))[1])
    ours, theirs = (told_miou(confusion.scores(dataset.label_space)) for confusion in counts)
    return None if ours is None or theirs is None else Scores(ours, theirs, len(dataset))


def speeds(
    predictor: Predictor, session: onnxruntime.InferenceSession, frame: np.ndarray, form: Form = ALL
) -> dict[str, float]:
    """Milliseconds that one frame uint8 [h, w, 3] takes to the form's first output, by what computes it."""
    image, (wanted, *_) = form.image_of(frame[None]), form.outputs
    floats = tf.cast(frame[None], tf.float32)

    def keras_answer():
        if wanted == "logits":
            return predictor.logits(floats).numpy()
        return enlarged_label(predictor.coarse_probs(floats), frame.shape[:2]).numpy()

    return {
        "Keras": milliseconds(keras_answer),
        "ONNX Runtime": milliseconds(lambda: session.run([wanted], {INPUT: image})),
    }


def milliseconds(predict: Callable[[], object]) -> float:
    """Median wall time of one call after a first that does not count."""
    predict()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        predict()
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))
