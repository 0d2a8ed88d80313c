"""Pseudo-label a folder of images, or saved probabilities of anyone's model. `python training/label.py --help`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from collections.abc import Iterator
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import tyro

from models.terminal import accept_all_characters
from training.distribution.memory import free_memory, gigabytes, out_of_memory_said
from training.distribution.quiet import start_tensorflow
from training.errors import UserError
from training.evaluation.mixture_chart import manifest_chart
from training.prediction.label_files import ReplacedLabels, picture_name, prepare_label_folder
from training.prediction.label_images import Predictions, label_images
from training.probability_maps.map_files import (
    ProbabilityMaps,
    check_probabilities,
    load_prior,
    open_probabilities,
)
from training.progress import console, tracked
from training.pseudo_labels.registry import Choice, choice_called, choices, selectors

SUM_TOLERANCE = 1e-2  # float16 probabilities of 19 classes stay well inside
RUN_PRIOR = "spatial_prior.npy"
SELECTOR_HELP = "Labelling rule. " + "; ".join(f"{name}: {choice.meaning}" for name, choice in choices().items()) + "."
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
WEIGHTING = " and ".join(name for name, choice in choices().items() if choice.with_prior)


@dataclass(frozen=True)
class Common:
    """What is labelled, where to, and by which selector."""

    out: Path
    """Folder for the labels and manifest.json. New, empty, or with labels of this program, which are replaced."""
    selector: Annotated[Literal[tuple(choices())], tyro.conf.arg(help=SELECTOR_HELP)] = "cbst"
    probs: OptionalPath = None
    """An .npz file with the array probs [n, classes, height, width], or a folder of .npy files [height, width,
    classes]."""
    run: OptionalPath = None
    """A finished run directory, whose model predicts --images."""
    stage: str = "final"
    """Which weights of the run: final, source, round_1, ..., with a mean teacher student/round_1 too."""
    images: OptionalPath = None
    """Images for --run: a folder, a text file of paths (.txt), or a pattern in quotes."""
    prior: Annotated[
        Path | None,
        tyro.conf.arg(
            metavar="PATH",
            help_behavior_hint="",
            help=f"Spatial prior for {WEIGHTING}: .npy (or .npz with the array prior), [classes, height, width] or "
            "[height, width, classes]. With --run the run's own, if it has one.",
        ),
    ] = None


def _option_fields() -> list[tuple[str, Any, Any]]:
    """A field, None where it is not given, for each parameter of the selectors; its help says whose it is."""
    kinds: dict[str, Any] = {}
    meanings: dict[str, dict[str, list[str]]] = {}
    for selector in selectors().values():
        for name, option in selector.options().items():
            default = "" if option.default is None else f" ({option.default})"
            kinds[name] = option.type
            meanings.setdefault(name, {}).setdefault(option.metadata["meaning"] + default, []).append(selector.short)
    return [
        (
            name,
            Annotated[
                kinds[name] | None,
                tyro.conf.arg(
                    metavar=_metavar(kinds[name]),
                    help=" ".join(f"{', '.join(own)}: {text}" for text, own in meanings[name].items()),
                    help_behavior_hint="",  # the defaults are the selectors' own, and stand in the help
                ),
            ],
            field(default=None),
        )
        for name in kinds
    ]


def _metavar(kind: Any) -> str:
    """What stands for a value of this type: FLOAT, or the words to choose from."""
    words = [word for each in (kind, *get_args(kind)) for word in get_args(each) if isinstance(word, str)]
    return f"{{{','.join(words)}}}" if words else kind.__name__.upper()


Arguments = make_dataclass("Arguments", _option_fields(), bases=(Common,), frozen=True)
Arguments.__doc__ = """Turn class probabilities into pseudo-labels: 8-bit PNGs of train ids, 255 = not selected.

From saved probabilities of anyone's model:

  python training/label.py --selector cbst --portion 0.2 --probs probs.npz --out labels

From a finished run and a folder of images:

  python training/label.py --selector cbst --portion 0.2 --run runs/mine --images photos --out labels
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit status: 0 done, 2 a mistake of the user's, 130 stopped by Ctrl-C."""
    accept_all_characters()
    arguments = tyro.cli(Arguments, args=argv, prog="training/label.py")
    try:
        with out_of_memory_said(_out_of_memory):
            label(arguments)
        return 0
    except UserError as error:
        print(f"streetshift: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nStopped. There are no new labels in {arguments.out}.", file=sys.stderr)
        return 130


def _out_of_memory() -> str:
    return (
        f"out of memory while labelling ({gigabytes(free_memory())} of this machine are free): end other programs, or "
        "give smaller images or maps; the folder of labels is as it was"
    )


def label(arguments: Common) -> None:
    """Label all maps into the folder, then write the manifest."""
    # What can be refused before any map is read.
    choice, parameters = choice_called(arguments.selector), _given_parameters(arguments)
    _check_inputs(arguments)
    if arguments.prior is not None:
        choice.check_takes_prior()
    choice.selector(**parameters)  # refuses numbers outside their range
    # The maps, and the spatial prior.
    predictions = _of_files(arguments) if arguments.run is None else _of_run(arguments)
    selector = choice.build(_prior(arguments, choice, predictions), **parameters)
    # Labels, which take the place of older ones at the end.
    with PicturedLabels(arguments.out, prepare_label_folder(arguments.out)) as writer:
        found = label_images(predictions, selector, writer)
    console.print(f"{len(found.names)} labels in {arguments.out}: {found.kept_share:.1%} of the pixels kept.")


def _given_parameters(arguments: Common) -> dict[str, Any]:
    """The selector's parameters that were given; UserError for one that it does not have."""
    own = choice_called(arguments.selector).selector.options()
    names = dict.fromkeys(name for selector in selectors().values() for name in selector.options())
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    for name in given:
        if name not in own:
            raise UserError(
                f"--selector {arguments.selector} does not use {_option(name)}: leave it out (it takes "
                f"{', '.join(map(_option, own))})."
            )
    return given


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _check_inputs(arguments: Common) -> None:
    if (arguments.probs is None) == (arguments.run is None):
        raise UserError("Give either --probs (saved probabilities) or --run with --images (a finished run).")
    if (arguments.run is None) != (arguments.images is None):
        raise UserError("--run and --images belong together: a finished run, and the folder it shall label.")
    if arguments.run is None and arguments.stage != "final":
        raise UserError(f"--stage {arguments.stage} is a stage of a run: give --run and --images, or leave it out.")


def _of_files(arguments: Common) -> "SavedPredictions":
    return SavedPredictions(open_probabilities(arguments.probs), str(arguments.probs))


def _of_run(arguments: Common) -> Predictions:
    start_tensorflow()
    from training.prediction.target_predictions import RunPredictions

    return RunPredictions(arguments.run, arguments.images.expanduser(), arguments.out, arguments.stage)


def _prior(arguments: Common, choice: Choice, predictions: Predictions) -> np.ndarray | None:
    """The prior that --prior names; with --run the run's own for a selector that weights by one."""
    if not choice.with_prior:
        return None
    if arguments.run is None:
        return None if arguments.prior is None else _prior_of_file(arguments.prior, predictions)
    path = arguments.prior or arguments.run / RUN_PRIOR
    if arguments.prior is None and not path.exists():
        raise UserError(f"{arguments.run} has no {RUN_PRIOR}: give --prior, or a selector without one.")
    return load_prior(path, predictions.classes, height_first=arguments.prior is None)


def _prior_of_file(path: Path, predictions: "SavedPredictions") -> np.ndarray:
    prior = load_prior(path, predictions.classes)
    if prior.shape != predictions.shape:
        raise UserError(
            f"The prior {path} is for {_size_of(prior.shape)} but the first map is {_size_of(predictions.shape)} "
            "(height x width x classes): make a prior at that size."
        )
    return prior


def _size_of(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


class PicturedLabels(ReplacedLabels):
    """With a picture of the modes that the selector found, if it fits any; the manifest names it."""

    def finish(self, manifest: dict[str, Any]) -> None:
        name = picture_name(manifest["files"])
        if manifest_chart(Path(self.unfinished.name) / name, manifest) is not None:
            self.written.append(name)
            manifest = manifest | {"picture": name}
        super().finish(manifest)


class SavedPredictions(Predictions):
    """Maps of files, read with a progress line; every value is checked the first time. shape: of the first map."""

    def __init__(self, maps: ProbabilityMaps, source: str):
        self._maps, self._checked, self._warned = maps, False, False
        self.names, self.mine, self.source = maps.names, range(len(maps.names)), source
        self.shape, self.classes = maps.shape, maps.shape[-1]

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


if __name__ == "__main__":
    sys.exit(main())
