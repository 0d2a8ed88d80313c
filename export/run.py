"""A run's network as an ONNX file that needs nothing of ours. `python export/run.py --help`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import tyro

from models.terminal import accept_all_characters, shell_words
from training.distribution.quiet import start_tensorflow
from training.errors import UserError
from training.files.atomic import write_atomically

if TYPE_CHECKING:
    import onnx

    from export.onnx_graph import Form
    from export.parity import Parity, Scores
    from training.prediction.model_metadata import ModelMetadata


@dataclass(frozen=True)
class Arguments:
    """Export a run's network as ONNX: checked against Keras on real frames, with its own description inside."""

    run: Path
    """The run directory."""
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    """fp32 runs anywhere; fp16 is half the size, for GPUs; int8 a quarter, quicker on recent CPUs."""
    outputs: Literal["all", "logits"] = "all"
    """all: labels, confidence and logits of `image` uint8 [batch, height, width, 3]. logits: a plain graph for OpenCV,
    TensorRT and older runtimes, `image` float32 [batch, 3, height, width] (RGB, 0 to 255, as
    cv2.dnn.blobFromImage(photo, swapRB=True) makes it) to `logits` [batch, classes, ?, ?] on the network's grid."""
    opset: int = 17
    """The version of ONNX' operators, 13 to 17: the older, the more runtimes read the file."""
    stage: str = "final"
    """Which weights of the run: final, source, round_1, ..., with a mean teacher student/round_1 too."""
    out: Path | None = None
    """The .onnx file to write. Not given: model.onnx (source.onnx, model_int8.onnx, model_logits.onnx ...) in the run
    directory."""


@dataclass(frozen=True)
class ExportReport:
    """What was written and how it compares with Keras; `str(report)` says it in a few lines.

    milliseconds: {"Keras": ..., "ONNX Runtime": ...} for one image of `size` (height, width) on this machine's CPU.
    scores: None where no labels exist. note: what the user should know, or "". outputs: "all" or "logits".
    """

    path: Path
    megabytes: float
    precision: str
    stage: str
    size: tuple[int, int]
    parity: "Parity"
    scores: "Scores | None"
    milliseconds: dict[str, float]
    note: str
    outputs: str = "all"

    def __str__(self) -> str:
        parity, times, scores = self.parity, self.milliseconds, self.scores
        height, width = self.size
        lines = [
            f"{self.path}: {self.megabytes:.1f} MB, {self.precision}, weights of {self.stage}",
            f"  labels equal to Keras' on {parity.agreement:.3%} of {parity.pixels:,} pixels ({parity.frames} frames), "
            f"largest logit difference {parity.difference:.2g} of {parity.largest_logit:.3g}",
        ]
        if scores is not None:
            change = scores.onnx - scores.keras
            lines.append(f"  mIoU {scores.onnx:.2f} ({change:+.2f} against Keras, {scores.images} labelled images)")
        speeds = ", ".join(f"{name} {value:.0f} ms" for name, value in times.items())
        lines.append(f"  one image of {height}x{width}: {speeds}")
        lines += [f"  {self.note}"] if self.note else []
        return "\n".join([*lines, f"Next: {self.next_command}"])

    @property
    def next_command(self) -> str:
        """The command that uses the file."""
        if self.outputs == "logits":
            return f"cv2.dnn.readNetFromONNX({str(self.path)!r}), input cv2.dnn.blobFromImage(photo, swapRB=True)"
        return f"python export/predict.py --model {shell_words(str(self.path))} --images PHOTOS --out predictions"


def export_run(
    run: Path,
    stage: str = "final",
    precision: str = "fp32",
    out: Path | None = None,
    *,
    outputs: str = "all",
    opset: int = 17,
) -> ExportReport:
    """Write the network of a run as ONNX, with the same description in the file and in a .json beside it.

    For the final weights MODEL_CARD.md in the run directory is (re)written too. Nothing is written before the model
    has been loaded by ONNX Runtime and agreed with Keras.

    Args:
        run: a run directory. stage: see `load_trained`. precision: "fp32", "fp16" or "int8".
        out: the file to write; None: `default_path`. outputs: "all" or "logits". opset: 13 to 17.

    Raises:
        UserError: no such run or stage, a wrong name, no target images to calibrate int8 on, or a model that disagrees.
    """
    return next(export_stages(run, [stage], precision, out, outputs=outputs, opset=opset))


def export_stages(
    run: Path,
    stages: Sequence[str],
    precision: str = "fp32",
    out: Path | None = None,
    *,
    outputs: str = "all",
    opset: int = 17,
) -> Iterator[ExportReport]:
    """Several stages of one run, one after the other, as `export_run` does each: its network is built once for all.

    `out` makes sense for one stage only.
    """
    # TensorFlow takes seconds to start: --help and mistyped arguments do not wait for it.
    from export.frames import checking_frames, evaluation_images, parity_frames
    from export.model_card import write_card
    from export.onnx_graph import FORMS, OPSETS, exact_float32, to_onnx
    from export.parity import check_parity, compared_scores, measured_parity, session_of, speeds
    from export.precision import PRECISIONS, with_precision
    from export.run_metadata import metadata_of_run
    from training.prediction.predictor import Predictor
    from training.prediction.trained_model import load_trained

    if precision not in PRECISIONS:
        raise UserError(f"There is no precision '{precision}': choose {', '.join(PRECISIONS)}.")
    if outputs not in FORMS:
        raise UserError(f"There are no outputs '{outputs}': choose {' or '.join(FORMS)}.")
    if opset not in OPSETS:
        raise UserError(f"--opset {opset}: expected {OPSETS[0]} to {OPSETS[-1]}.")
    form = FORMS[outputs]
    paths = [default_path(Path(run), stage, precision, outputs) if out is None else Path(out) for stage in stages]
    if out is not None and Path(out).suffix != ".onnx":
        raise UserError(f"--out {out}: expected the name of an .onnx file.")
    with exact_float32():
        trained = load_trained(Path(run), stages[0])
        network, experiment, space = trained.network, trained.experiment, trained.label_space
        images = evaluation_images(experiment, trained.sixteen_bit_range)
        predictor, size = Predictor(network), tuple(experiment.data.size)
        frames, note = checking_frames(experiment, space, precision)
    for number, (stage, path) in enumerate(zip(stages, paths, strict=True)):
        if number > 0:
            trained.take(stage)
        with exact_float32():
            model = with_precision(to_onnx(network, form, opset), precision, frames, form)
            session = session_of(model, form)
            parity = measured_parity(predictor, session, parity_frames(frames), form)
            check_parity(parity, precision)
            scores = compared_scores(predictor, session, images, size, form)
            milliseconds = speeds(predictor, session, frames[0], form)
        metadata = metadata_of_run(trained.directory, experiment, space, stage, precision)
        metadata = replace(metadata, signature=form.described)
        write_model(path, model, metadata, form)
        if stage == "final":
            write_card(trained.directory, experiment, metadata)
        megabytes = path.stat().st_size / 1e6
        yield ExportReport(path, megabytes, precision, stage, size, parity, scores, milliseconds, note, outputs)


def default_path(run: Path, stage: str, precision: str, outputs: str = "all") -> Path:
    """model.onnx in the run directory for its final weights, else the stage's name; what is not usual is added."""
    name = "model" if stage == "final" else stage.replace("/", "_")
    unusual = [*([outputs] if outputs != "all" else []), *([precision] if precision != "fp32" else [])]
    return run / ("_".join([name, *unusual]) + ".onnx")


def write_model(path: Path, model: "onnx.ModelProto", metadata: "ModelMetadata", form: "Form") -> None:
    """Write `path` with the metadata inside and as a .json beside, and see that the written file opens and runs."""
    import onnxruntime

    from export.parity import labels_and_logits
    from training.prediction.model_metadata import METADATA_KEY, ModelMetadata

    text = metadata.to_json()
    ModelMetadata.from_json(text, str(path))  # before anything is written
    model.metadata_props.add(key=METADATA_KEY, value=text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot write {path} ({error.strerror}): choose another --out.") from error
    write_atomically(path, model.SerializeToString())
    write_atomically(path.with_suffix(".json"), (text + "\n").encode())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    ModelMetadata.from_json(session.get_modelmeta().custom_metadata_map.get(METADATA_KEY), str(path))
    labels_and_logits(session, np.zeros((*metadata.training_size, 3), np.uint8), form)


def main(argv: list[str] | None = None) -> int:
    """Export and print what was measured; the exit status: 0 done, 2 a mistake of the user's, 130 stopped by Ctrl-C."""
    accept_all_characters()
    arguments = tyro.cli(Arguments, args=argv, prog="export/run.py", config=(tyro.conf.FlagCreatePairsOff,))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # no remarks of its graph optimiser on devices
    start_tensorflow()
    try:
        what = {"outputs": arguments.outputs, "opset": arguments.opset}
        print(export_run(arguments.run, arguments.stage, arguments.precision, arguments.out, **what))
        return 0
    except UserError as error:
        print(f"streetshift: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
