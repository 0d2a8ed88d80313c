"""Size and parity of every network at every precision, as a Markdown table.

    python tests/benchmarks/export_table.py                      # all networks, at random weights
    python tests/benchmarks/export_table.py --runs RUN RUN       # those of finished runs, with the mIoU

Neither size nor the difference of float32 depends on what was learned. What 8 bits cost does: read it off a run. Random
weights tell less, and nothing where one class takes all pixels (hence the number of classes among Keras' labels); with
the batch-norm statistics of real frames a deep random network multiplies every rounding a thousandfold and tells
nothing either. Each network has a process of its own, for its memory.
"""

import argparse
import contextlib
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from models.catalogue import NETWORKS
from training.distribution.memory import peak_memory

CLASSES = 19
SIZE = (128, 256)
CALIBRATION, CHECKED = 8, 4  # frames
HEAD = ("weights", "precision", "MB", "largest logit difference", "of", "equal labels", "classes", "mIoU")


def print_random(name: str) -> None:
    """The lines of a network at random weights."""
    from tests.export.networks import lively_network
    from training.data.streetsim import STYLES, render

    calibration, checked = (
        [render(STYLES["city"], seed, index, SIZE)[0] for index in range(count)]
        for seed, count in ((1, CALIBRATION), (2, CHECKED))
    )
    print_lines(f"{name}, random", lively_network(name, CLASSES), calibration, checked)


def print_run(folder: Path) -> None:
    """The lines of a run's final network: parity on labelled images of its target where there are any."""
    from export.frames import checking_frames, evaluation_images
    from training.prediction.trained_model import load_trained

    trained = load_trained(folder, "final")
    experiment = trained.experiment
    with contextlib.redirect_stdout(sys.stderr):  # the bars of streets being drawn
        calibration, _ = checking_frames(experiment, trained.label_space, "int8")
        dataset = evaluation_images(experiment)
    checked = calibration if dataset is None else [dataset.read_image(index) for index in range(CHECKED)]
    title = f"{trained.network.name}, run {folder.name}"
    print_lines(title, trained.network, calibration, checked[:CHECKED], dataset, experiment.data.size)


def print_lines(title, network, calibration, checked, dataset=None, size=SIZE) -> None:
    """One line of the table for each precision."""
    import numpy as np

    from export.frames import parity_frames
    from export.onnx_graph import exact_float32, to_onnx
    from export.parity import compared_scores, measured_parity, session_of
    from export.precision import PRECISIONS, with_precision
    from training.prediction.predictor import Predictor

    frames = parity_frames(checked)  # odd sizes among them
    with exact_float32():
        model, predictor = to_onnx(network), Predictor(network)
        labels = [network(frame[None])["logits"].numpy().argmax(-1).ravel() for frame in frames]
        classes = len(np.unique(np.concatenate(labels)))
        for precision in PRECISIONS:
            converted = with_precision(model, precision, calibration)
            session = session_of(converted)
            parity = measured_parity(predictor, session, frames)
            scores = compared_scores(predictor, session, dataset, size)
            cells = (
                title, precision, f"{converted.ByteSize() / 1e6:.1f}", f"{parity.difference:.1e}",
                f"{parity.largest_logit:.1f}", f"{parity.agreement:.3%}", str(classes),
                "-" if scores is None else f"{scores.onnx:.2f} ({scores.onnx - scores.keras:+.2f})",
            )  # fmt: skip
            print(f"| {' | '.join(cells)} |", flush=True)


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
