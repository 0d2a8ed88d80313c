"""Pseudo-label a folder of images, or saved probabilities of anyone's model. `python training/label.py --help`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from training.errors import UserError
from training.progress import console, tracked
from training.pseudo_labels.label_files import (
    MANIFEST_NAME,
    label_manifest,
    prepare_label_folder,
    write_label_png,
    write_manifest,
)
from training.pseudo_labels.probability_files import (
    ProbabilityMaps,
    check_probabilities,
    load_prior,
    open_probabilities,
)
from training.pseudo_labels.selectors import PRIOR_SELECTORS, SELECTORS, check_selector, lrent_select, select
from training.pseudo_labels.spatial_prior import resize_prior
from training.pseudo_labels.thresholds import Thresholds, thresholds_from_batches
from training.quiet import start_tensorflow

DEFAULT_ALPHA = 0.25
SUM_TOLERANCE = 1e-2  # float16 probabilities of 19 classes stay well inside
RUN_PRIOR = "spatial_prior.npy"
SELECTOR_HELP = "Which pixels may teach. " + "; ".join(f"{name}: {text}" for name, text in SELECTORS.items()) + "."


@dataclass(frozen=True)
class Arguments:
    """Turn class probabilities into pseudo-labels: 8-bit PNGs of train ids, 255 where no label is safe enough.

    From saved probabilities of anyone's model:

      python training/label.py --selector cbst --portion 0.2 --probs probs.npz --out labels

    From a finished run and a folder of images:

      python training/label.py --selector cbst --portion 0.2 --checkpoint runs/mine --images photos --out labels
    """

    out: Path
    """Folder for the labels and manifest.json. New, empty, or with labels of this program, which are replaced."""
    selector: Annotated[Literal["st", "cbst", "st_sp", "cbst_sp", "lrent"], tyro.conf.arg(help=SELECTOR_HELP)] = "cbst"
    portion: float = 0.2
    """Share of the pixels (of each class; st: of all) to select, the most confident ones: above 0, at most 1."""
    stride: int = 4
    """Rank every n-th pixel of each class; 1 ranks all. Selection looks at every pixel in any case."""
    probs: Path | None = None
    """An .npz file with the array probs [n, classes, height, width], or a folder of .npy files [height, width,
    classes]."""
    checkpoint: Path | None = None
    """A finished run directory, whose model predicts --images."""
    images: Path | None = None
    """Folder of images for --checkpoint."""
    prior: Path | None = None
    """Spatial prior for st_sp and cbst_sp: .npy (or .npz with the array prior), [classes, height, width] or
    [height, width, classes]. With --checkpoint the run's own, if it has one."""
    alpha: float | None = None
    """Temperature of lrent (0.25)."""
    compat: Literal["mxnet"] | None = None
    """Reproduce the original CBST program, with the stray zero in each of its rankings."""


@dataclass(frozen=True)
class Maps:
    """What is to be labelled: names of the images, their probabilities [h, w, c] afresh at each call, where from."""

    names: list[str]
    make_batches: Callable[[], Iterable[np.ndarray]]
    source: str
    prior: np.ndarray | None
    class_names: tuple[str, ...] | None = None


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit status: 0 done, 2 a mistake of the user's, 130 stopped by Ctrl-C."""
    arguments = tyro.cli(Arguments, args=argv, prog="training/label.py")
    try:
        label(arguments)
        return 0
    except UserError as error:
        print(f"streetshift: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nStopped. {arguments.out} may hold some labels, but no {MANIFEST_NAME}.", file=sys.stderr)
        return 130


def label(arguments: Arguments) -> None:
    """Find the thresholds over all maps, then label each map and write the manifest."""
    _check_choices(arguments)
    maps = _maps_of_run(arguments) if arguments.checkpoint else _maps_of_files(arguments)
    check_selector(arguments.selector, maps.prior)
    old_files = prepare_label_folder(arguments.out)
    thresholds = thresholds_from_batches(
        maps.make_batches, arguments.selector, arguments.portion, arguments.stride, maps.prior, arguments.compat
    )
    for file in old_files:
        file.unlink(missing_ok=True)
    kept = _write_labels(maps, thresholds, _select_one(arguments, thresholds, maps.prior), arguments.out)
    extra = {"alpha": _alpha(arguments)} if arguments.selector == "lrent" else {}
    manifest = label_manifest(thresholds, kept, maps.names, maps.source, maps.class_names, **extra)
    write_manifest(arguments.out, manifest)
    console.print(f"{len(maps.names)} labels in {arguments.out}: {manifest['kept_share_all']:.1%} of the pixels kept.")


def _check_choices(arguments: Arguments) -> None:
    if (arguments.probs is None) == (arguments.checkpoint is None):
        raise UserError("Give either --probs (saved probabilities) or --checkpoint with --images (a finished run).")
    if (arguments.checkpoint is None) != (arguments.images is None):
        raise UserError("--checkpoint and --images belong together: a finished run, and the folder it shall label.")
    if arguments.alpha is not None and arguments.selector != "lrent":
        raise UserError(f"--alpha is the temperature of lrent: leave it out for --selector {arguments.selector}.")
    if arguments.alpha is not None and not arguments.alpha > 0:
        raise UserError(f"--alpha {arguments.alpha}: expected a number above 0, such as {DEFAULT_ALPHA}.")


def _alpha(arguments: Arguments) -> float:
    return DEFAULT_ALPHA if arguments.alpha is None else arguments.alpha


def _maps_of_files(arguments: Arguments) -> Maps:
    maps = open_probabilities(arguments.probs)
    prior = None if arguments.prior is None else load_prior(arguments.prior, maps.shape[-1])
    if prior is not None and prior.shape != maps.shape:
        raise UserError(
            f"The prior {arguments.prior} is for {_size_of(prior.shape)} but the first map is {_size_of(maps.shape)} "
            "(height x width x classes): make a prior at that size."
        )
    return Maps(list(maps.names), _CheckedMaps(maps), str(arguments.probs), prior)


def _maps_of_run(arguments: Arguments) -> Maps:
    start_tensorflow()
    from training.labelling import probabilities_of_folder

    names, make_batches, label_space = probabilities_of_folder(arguments.checkpoint, arguments.images)
    maps = Maps(names, make_batches, str(arguments.images), None, label_space.names)
    if arguments.selector not in PRIOR_SELECTORS:
        return maps
    path = arguments.prior or arguments.checkpoint / RUN_PRIOR
    if arguments.prior is None and not path.exists():
        raise UserError(f"{arguments.checkpoint} has no {RUN_PRIOR}: give --prior, or a selector without one.")
    first = next(iter(make_batches()))
    return replace(maps, prior=resize_prior(load_prior(path, label_space.count), first.shape[:2]))


def _size_of(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


class _CheckedMaps:
    """Reads the maps with a progress line, and looks at every value the first time."""

    def __init__(self, maps: ProbabilityMaps):
        self._maps, self._checked, self._warned = maps, False, False

    def __call__(self) -> Iterator[np.ndarray]:
        title = "reading probabilities" if self._checked else "checking probabilities"
        maps = tracked(self._maps.read(), title, len(self._maps.names))
        for place, probs in zip(self._maps.places, maps, strict=True):
            if not self._checked:
                self._check(probs, place)
            yield probs
        self._checked = True

    def _check(self, probs: np.ndarray, place: str) -> None:
        difference = check_probabilities(probs, place)
        if difference > SUM_TOLERANCE and not self._warned:
            self._warned = True
            console.print(
                f"Warning: {place} has pixels whose probabilities differ from a sum of 1 by {difference:.2g}: is the "
                "class axis where it is expected, and are these probabilities, not logits?"
            )


def _select_one(
    arguments: Arguments, thresholds: Thresholds, prior: np.ndarray | None
) -> Callable[[np.ndarray], np.ndarray]:
    if arguments.selector == "lrent":
        return lambda probs: lrent_select(probs, thresholds, _alpha(arguments))[0]
    return lambda probs: select(probs, thresholds, prior)


def _write_labels(maps: Maps, thresholds: Thresholds, select_one: Callable, folder: Path) -> np.ndarray:
    """Write one PNG an image; the number of kept pixels per class, int64 [c]."""
    classes = len(thresholds.values)
    kept = np.zeros(classes, np.int64)
    for name, probs in zip(maps.names, maps.make_batches(), strict=True):
        pseudo_label = select_one(probs)
        kept += np.bincount(pseudo_label.reshape(-1), minlength=256)[:classes]
        write_label_png(folder / f"{name}.png", pseudo_label)
    return kept


if __name__ == "__main__":
    sys.exit(main())
