"""Pseudo-label a folder of images, or saved probabilities of anyone's model. `python training/label.py --help`."""

import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from training.distribution.quiet import start_tensorflow
from training.errors import UserError
from training.prediction.label_files import (
    MANIFEST_NAME,
    label_manifest,
    prepare_label_folder,
    write_label_png,
    write_manifest,
)
from training.probability_maps.map_files import (
    ProbabilityMaps,
    check_probabilities,
    load_prior,
    open_probabilities,
)
from training.progress import console, tracked
from training.pseudo_labels.instance_adaptive import BATCH_SIZE, InstanceAdaptiveSelector, in_batches
from training.pseudo_labels.selectors import (
    ORDERED_SELECTORS,
    PRIOR_SELECTORS,
    SELECTORS,
    check_selector,
    lrent_select,
    select,
)
from training.pseudo_labels.spatial_prior import resize_prior
from training.pseudo_labels.thresholds import Thresholds, thresholds_from_batches

PORTION, STRIDE = 0.2, 4
LRENT_ALPHA, IAS_ALPHA = 0.25, 0.5
BETA, GAMMA = 0.9, 8.0
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
    selector: Annotated[
        Literal["st", "cbst", "st_sp", "cbst_sp", "lrent", "ias"], tyro.conf.arg(help=SELECTOR_HELP)
    ] = "cbst"
    portion: float | None = None
    """Share of the pixels (of each class; st: of all) to select, the most confident ones: above 0, at most 1 (0.2).
    Not for ias."""
    stride: int | None = None
    """Rank every n-th pixel of each class (4); 1 ranks all. Selection looks at every pixel in any case. Not for ias."""
    probs: Path | None = None
    """An .npz file with the array probs [n, classes, height, width], or a folder of .npy files [height, width,
    classes]."""
    checkpoint: Path | None = None
    """A finished run directory, whose model predicts --images."""
    images: Path | None = None
    """Images for --checkpoint: a folder, a text file of paths (.txt), or a pattern in quotes."""
    prior: Path | None = None
    """Spatial prior for st_sp and cbst_sp: .npy (or .npz with the array prior), [classes, height, width] or
    [height, width, classes]. With --checkpoint the run's own, if it has one."""
    alpha: float | None = None
    """lrent: temperature (0.25). ias: share of a class that sets its threshold (0.5, HIAST's; IAST takes 0.2)."""
    beta: float | None = None
    """ias: how much of the old threshold stays from batch to batch (0.9)."""
    gamma: float | None = None
    """ias: the share is alpha * threshold^gamma (8), so that hard classes keep fewer pixels; 0: the same for all."""
    batch_size: int | None = None
    """ias: images that move the thresholds together (2), taken in the order of their names; labels depend on both."""
    compat: Literal["mxnet"] | None = None
    """Reproduce the original CBST program, with the stray zero in each of its rankings."""


@dataclass(frozen=True)
class Maps:
    """What is to be labelled: names of the images, their probabilities [h, w, c] afresh at each call, where from."""

    names: list[str]
    make_batches: Callable[[], Iterable[np.ndarray]]
    source: str
    prior: np.ndarray | None
    classes: int
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Written:
    """What labelling left: thresholds, kept pixels per class int64 [c], entries of the manifest beyond the usual."""

    thresholds: Thresholds
    kept: np.ndarray
    entries: dict[str, Any]


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
    """Label all maps into the folder, then write the manifest."""
    _check_choices(arguments)
    maps = _maps_of_run(arguments) if arguments.checkpoint else _maps_of_files(arguments)
    check_selector(arguments.selector, maps.prior)
    old_files = prepare_label_folder(arguments.out)
    write = _write_in_order if arguments.selector in ORDERED_SELECTORS else _write_by_thresholds
    written = write(arguments, maps, old_files)
    manifest = label_manifest(
        written.thresholds, written.kept, maps.names, maps.source, maps.class_names, **written.entries
    )
    write_manifest(arguments.out, manifest)
    console.print(f"{len(maps.names)} labels in {arguments.out}: {manifest['kept_share_all']:.1%} of the pixels kept.")


def _check_choices(arguments: Arguments) -> None:
    if (arguments.probs is None) == (arguments.checkpoint is None):
        raise UserError("Give either --probs (saved probabilities) or --checkpoint with --images (a finished run).")
    if (arguments.checkpoint is None) != (arguments.images is None):
        raise UserError("--checkpoint and --images belong together: a finished run, and the folder it shall label.")
    _check_numbers(arguments)


def _check_numbers(arguments: Arguments) -> None:
    """Refuse what the chosen selector would not look at."""
    selector, ordered = arguments.selector, arguments.selector in ORDERED_SELECTORS
    unused = ("portion", "stride", "compat") if ordered else ("beta", "gamma", "batch_size")
    given = [f"--{name.replace('_', '-')}" for name in unused if getattr(arguments, name) is not None]
    if given:
        instead = "it takes --alpha, --beta, --gamma and --batch-size" if ordered else "that belongs to ias"
        raise UserError(f"--selector {selector} does not use {given[0]}: leave it out ({instead}).")
    if arguments.alpha is None:
        return
    if not ordered and selector != "lrent":
        raise UserError(f"--alpha is the temperature of lrent and the share of ias: leave it out for {selector}.")
    if not arguments.alpha > 0:
        raise UserError(f"--alpha {arguments.alpha}: expected a number above 0, such as {LRENT_ALPHA}.")


def _or(given: float | None, default: float) -> float:
    return default if given is None else given


def _maps_of_files(arguments: Arguments) -> Maps:
    maps = open_probabilities(arguments.probs)
    prior = None if arguments.prior is None else load_prior(arguments.prior, maps.shape[-1])
    if prior is not None and prior.shape != maps.shape:
        raise UserError(
            f"The prior {arguments.prior} is for {_size_of(prior.shape)} but the first map is {_size_of(maps.shape)} "
            "(height x width x classes): make a prior at that size."
        )
    return Maps(list(maps.names), _CheckedMaps(maps), str(arguments.probs), prior, maps.shape[-1])


def _maps_of_run(arguments: Arguments) -> Maps:
    start_tensorflow()
    from training.prediction.labelling import probabilities_of_folder

    names, make_batches, label_space = probabilities_of_folder(
        arguments.checkpoint, arguments.images.expanduser(), arguments.out
    )
    maps = Maps(names, make_batches, str(arguments.images), None, label_space.count, label_space.names)
    if arguments.selector not in PRIOR_SELECTORS:
        return maps
    path = arguments.prior or arguments.checkpoint / RUN_PRIOR
    if arguments.prior is None and not path.exists():
        raise UserError(f"{arguments.checkpoint} has no {RUN_PRIOR}: give --prior, or a selector without one.")
    first = next(iter(make_batches()))
    prior = load_prior(path, label_space.count, height_first=arguments.prior is None)
    return replace(maps, prior=resize_prior(prior, first.shape[:2]))


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
        return lambda probs: lrent_select(probs, thresholds, _or(arguments.alpha, LRENT_ALPHA))[0]
    return lambda probs: select(probs, thresholds, prior)


def _write_by_thresholds(arguments: Arguments, maps: Maps, old_files: list[Path]) -> Written:
    """Find the thresholds over all maps, then write one PNG an image."""
    portion, stride = _or(arguments.portion, PORTION), _or(arguments.stride, STRIDE)
    thresholds = thresholds_from_batches(
        maps.make_batches, arguments.selector, portion, stride, maps.prior, arguments.compat
    )
    _remove(old_files)
    select_one = _select_one(arguments, thresholds, maps.prior)
    kept = np.zeros(maps.classes, np.int64)
    for name, probs in zip(maps.names, maps.make_batches(), strict=True):
        pseudo_label = select_one(probs)
        kept += np.bincount(pseudo_label.reshape(-1), minlength=256)[: maps.classes]
        write_label_png(arguments.out / f"{name}.png", pseudo_label)
    entries = {"alpha": _or(arguments.alpha, LRENT_ALPHA)} if arguments.selector == "lrent" else {}
    return Written(thresholds, kept, entries)


def _write_in_order(arguments: Arguments, maps: Maps, old_files: list[Path]) -> Written:
    """Label batch after batch in the order of the names, in one pass.

    A bad map at the end costs neither the old labels nor leaves a part of the new: these wait in a folder of their own.
    """
    numbers = (_or(arguments.alpha, IAS_ALPHA), _or(arguments.beta, BETA), _or(arguments.gamma, GAMMA))
    selector = InstanceAdaptiveSelector(maps.classes, *numbers)
    batch_size = int(_or(arguments.batch_size, BATCH_SIZE))
    batches = in_batches(maps.make_batches(), batch_size)
    labels = (pseudo_label for batch in batches for pseudo_label in selector.label_batch(batch))
    with _unfinished(arguments.out) as unfinished:
        for name, pseudo_label in zip(maps.names, labels, strict=True):
            write_label_png(Path(unfinished) / f"{name}.png", pseudo_label)
        _remove(old_files)
        for name in maps.names:
            (Path(unfinished) / f"{name}.png").replace(arguments.out / f"{name}.png")
    return Written(selector.thresholds(), selector.kept, {"batch_size": batch_size, **selector.manifest_entries()})


def _unfinished(folder: Path) -> tempfile.TemporaryDirectory:
    """A folder inside, on the same disk, that vanishes when left, whatever happened."""
    try:
        return tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-")
    except OSError as error:
        raise UserError(f"Cannot write in {folder} ({error.strerror}): choose another folder.") from error


def _remove(files: list[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
