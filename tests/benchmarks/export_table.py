"""Size, time and parity of every network at every precision, as a Markdown table.

    python tests/benchmarks/export_table.py                      # all networks, at random weights
    python tests/benchmarks/export_table.py --networks compact segformer_mit_b0       # single lines of it
    python tests/benchmarks/export_table.py --runs RUN RUN       # those of finished runs, with the mIoU

Neither size nor the difference of float32 depends on what was learned. What 8 bits cost does: read it off a run. Random
weights tell less, and nothing where one class takes all pixels (hence the number of classes among Keras' labels, on the
error stream); with the batch-norm statistics of real frames a deep random network multiplies every rounding a
thousandfold and tells nothing either. Time is the processor's, of one thread. Each network has a process of its own,
for its memory.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from models.catalogue import NETWORKS
from training.distribution.memory import peak_memory

CLASSES = 19
SIZE = (128, 256)
CALIBRATION, CHECKED = 8, 4  # frames
TIMED, TIMED_SIZE, ROUNDS = ("fp32", "int8"), (256, 512), 9
HEAD = (
    "network",
    "million parameters",
    "MB at fp32, fp16, int8",
    "ms at fp32, int8",
    "fp32: logits differ by, equal labels",
    "equal labels at fp16",
    "at int8",
    "mIoU at fp32, fp16, int8",
)


def print_random(name: str) -> None:
    """The line of a network at random weights."""
    from tests.export.networks import lively_network
    from training.data.streetsim import STYLES, render

    calibration, checked = (
        [render(STYLES["city"], seed, index, SIZE)[0] for index in range(count)]
        for seed, count in ((1, CALIBRATION), (2, CHECKED))
    )
    print_line(f"`{name}`", lively_network(name, CLASSES), calibration, checked)


def print_run(folder: Path) -> None:
    """The line of a run's final network: parity on labelled images of its target where there are any."""
    from export.frames import checking_frames, evaluation_images
    from training.prediction.trained_model import load_trained

    trained = load_trained(folder, "final")
    experiment = trained.experiment
    with contextlib.redirect_stdout(sys.stderr):  # the bars of streets being drawn
        calibration, _ = checking_frames(experiment, trained.label_space, "int8")
        dataset = evaluation_images(experiment)
    checked = calibration if dataset is None else [dataset.read_image(index) for index in range(CHECKED)]
    title = f"`{trained.network.name}`, run {folder.name}"
    print_line(title, trained.network, calibration, checked[:CHECKED], dataset, experiment.data.size)


def print_line(title, network, calibration, checked, dataset=None, size=SIZE) -> None:
    """The line of one network."""
    import numpy as np

    from export.frames import parity_frames
    from export.onnx_graph import exact_float32, to_onnx
    from export.parity import compared_scores, measured_parity, session_of
    from export.precision import PRECISIONS, with_precision
    from training.prediction.predictor import Predictor

    frames = parity_frames(checked)  # odd sizes among them
    parities, scores, sizes, times = {}, {}, [], {}
    with exact_float32():
        model, predictor = to_onnx(network), Predictor(network)
        for precision in PRECISIONS:
            converted = with_precision(model, precision, calibration)
            session = session_of(converted)
            sizes.append(f"{converted.ByteSize() / 1e6:.1f}")
            parities[precision] = measured_parity(predictor, session, frames)
            scores[precision] = compared_scores(predictor, session, dataset, size)
            if precision in TIMED:
                times[precision] = milliseconds(converted)
        labels = [network(frame[None])["logits"].numpy().argmax(-1).ravel() for frame in frames]
    exact = parities["fp32"]
    cells = (
        title,
        f"{network.count_params() / 1e6:.2f}",
        ", ".join(sizes),
        ", ".join(f"{times[precision]:.0f}" for precision in TIMED),
        f"{exact.difference:.1e} of {exact.largest_logit:.1f}, {exact.agreement:.3%}",
        f"{parities['fp16'].agreement:.3%}",
        f"{parities['int8'].agreement:.3%}",
        ", ".join(f"{score.onnx:.2f}" for score in scores.values() if score is not None),
    )
    print(f"| {' | '.join(cells)} |", flush=True)
    classes = len(np.unique(np.concatenate(labels)))
    print(f"{classes} classes among the labels of {title}", file=sys.stderr)


def milliseconds(model) -> float:
    """Median processor time of one thread for one image to labels and confidence, with ONNX Runtime."""
    import numpy as np
    import onnxruntime

    from training.data.streetsim import STYLES, render

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    image, times = render(STYLES["city"], 3, 0, TIMED_SIZE)[0][None], []
    for _ in range(1 + ROUNDS):  # the first fills caches
        start = time.process_time()
        session.run(["labels", "confidence"], {"image": image})
        times.append(time.process_time() - start)
    return 1000 * float(np.median(times[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), help="at random weights")
    parser.add_argument("--runs", nargs="+", default=[], type=Path, help="run directories")
    parser.add_argument("--lines", action="store_true", help="in this process and without the table's head")
    arguments = parser.parse_args()
    networks = arguments.networks or ([] if arguments.runs else list(NETWORKS))
    if arguments.lines:
        for name in networks:
            print_random(name)
        for folder in arguments.runs:
            print_run(folder)
        print(f"Peak memory of this process: {peak_memory() / 2**30:.1f} GiB", file=sys.stderr)
        return
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
    for choice in (*(("--networks", name) for name in networks), *(("--runs", str(run)) for run in arguments.runs)):
        subprocess.run([sys.executable, __file__, "--lines", *choice], check=True)


if __name__ == "__main__":
    main()
