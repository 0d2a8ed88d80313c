"""The command line of a run: three choices, folders, overrides -> an `Experiment`. Imports nothing heavy."""

import difflib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Annotated, Literal

import tyro

from models.catalogue import NETWORKS
from training.control import control_of
from training.errors import UserError
from training.overrides import use_of, with_overrides
from training.presets import DATA, EMBEDDED
from training.recipes import RECIPES
from training.settings.data import Data, Domain, Translator
from training.settings.experiment import Experiment, Model, Recipe
from training.settings.sampling import SourceShare
from training.settings.schedule import Schedule
from training.settings.stages import Rounds
from training.settings.translation import CycleGan, Fda, TranslatedImages
from training.suited import SUITED


@dataclass(frozen=True)
class Arguments:
    """Adapt a street-scene segmenter to images without labels, and report what it gained.

    Try `python training/run.py --recipe cbst_sp` (built-in streets, no download), or `--list` for everything there is.
    """

    recipe: str | None = None
    """The method; see --list. Not given: cbst_sp on the built-in streets, best on everything else."""
    data: str = "streetsim"
    """The pair of domains; see --list. Your own photos: streetsim_camvid or folders."""
    model: str | None = None
    """The network; see --list. Not given: the one that suits the data."""
    weights: str | None = None
    """Start of the network: imagenet, none, or a file of the backbone or of a whole network (.weights.h5,
    .safetensors). Not given: what suits the data."""
    out: Path | None = None
    """The run directory. Not given: runs/RECIPE-DATA-seedSEED, with a number behind it if that exists."""
    resume: Path | None = None
    """Continue the run in this directory. Options that differ from the run's are refused, except `accumulate` and
    `--devices`."""
    devices: str = "auto"
    """auto, cpu, gpu, or gpu:0,1: where to compute. Several train as one, with the same result to rounding.
    TF_CONFIG in the environment makes this process one of several workers."""
    warm_start: Path | None = None
    """A finished run of the same model and classes, source-only or adapted, to go on from instead of the warm-up. Or a
    better segmenter with these classes to distil into this model, adapted to your images: a run of another model, or
    anybody's .onnx or .keras file. The model is warmed up on the source as usual, the other one labels the target for
    round 1, and the model labels the rounds after that itself."""
    warm_start_pixels: Literal["bytes", "unit", "signed", "imagenet"] | None = None
    """What a float input of the --warm-start file wants: 0..255, 0..1, -1..1, or ImageNet's mean and deviation taken
    off. Not given: imagenet if its image is b x 3 x h x w, else bytes."""
    seed: int = 0
    """Random seed of the initial weights, the data order and the augmentation."""
    source_root: Path | None = None
    """Where the labelled source data lies."""
    translated_root: Path | None = None
    """Images of the source that were translated to the target's style, such as the published "GTA5 as Cityscapes": a
    folder of pictures with the names of the source's. They take the place of the source's images; with
    --set translation.alongside=True both are trained on."""
    target_root: Path | None = None
    """Where the unlabelled target images lie. For photos of your own a folder, a text file of paths (.txt), or
    a pattern in quotes, such as 'drives/*/front/*.jpg'."""
    eval_root: Path | None = None
    """Labelled images of the target (images/ and labels/), used for figures only."""
    labelled_share: str | None = None
    """Semi-supervised: this share of the target (1/8, 0.125), with its labels, takes the place of the source."""
    classes: str | None = None
    """Label space: cityscapes19, synthia16, cross_city13, robotcar9, camvid11, or your own JSON file. The 19 classes of
    Cityscapes in label files with other ids: cityscapes19_ids, kitti, mapillary_v1.2, idd, idd_level3, camvid32 (ids or
    colours)."""
    size: str | None = None
    """HEIGHTxWIDTH that images are brought to, in training and prediction: the aspect ratio of your photos, multiples
    of 16."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE")] = ()
    """Overrides, e.g. --set adaptation.rounds=5 data.most_rounds=5; --show prints the keys."""
    list: bool = False
    """List recipes, data and models, and stop."""
    show: bool = False
    """Print the resolved experiment, and stop."""
    control: bool = False
    """The control beside a run: the same training with target labels of weight 0, or, where a recipe has none
    (adaptseg, advent), with an adversarial term of weight 0. What a run gains over it is the gain from the labels, or
    from the term."""
    smoke: bool = False
    """Every stage of the recipe with a few small steps: half a minute, on any machine, to see that it works."""


def parse(argv: Sequence[str] | None = None, default: Arguments = Arguments()) -> Arguments:
    """The command line; what it does not give is that of `default`. Several `--set` are as one."""
    joined = with_one_set(sys.argv[1:] if argv is None else argv)
    return tyro.cli(
        Arguments, args=joined, default=default, prog="training/run.py", config=(tyro.conf.FlagCreatePairsOff,)
    )


def with_one_set(argv: Sequence[str]) -> list[str]:
    """The options, the overrides of all `--set` behind one at the end: the parser would keep the last one's only."""
    others, overrides, given, taking = [], [], False, False
    for argument in argv:
        name, separator, value = argument.partition("=")
        if name == "--set":
            given, taking = True, not separator
            overrides += [value] if separator else []
        elif taking and not argument.startswith("-"):
            overrides.append(argument)
        else:
            taking = False
            others.append(argument)
    return [*others, *(["--set"] if given else []), *overrides]


def experiment_of(arguments: Arguments) -> Experiment:
    """The experiment that the arguments describe.

    Raises:
        UserError: an unknown name or key, a value that does not fit, a missing folder option.
    """
    name = arguments.recipe or usual_recipe(arguments.data)
    recipe = _named(RECIPES, name, "recipe")
    if arguments.translated_root is not None:
        recipe = replace(recipe, translation=_translated(recipe, arguments.translated_root))
    data = _with_folders(_named(DATA, arguments.data, "data"), arguments)
    network = arguments.model or data.network
    _named(NETWORKS, network, "model")
    same_network = network == data.network
    usual_weights = data.weights if same_network else "none" if network == "compact" else "imagenet"
    model = Model(
        network=network,
        weights=_absolute_if_file(arguments.weights or usual_weights),
        output_stride=data.output_stride if same_network else None,
    )
    if model.weights == "none":
        data = _from_scratch(data)
    names = {"recipe": name, "data": arguments.data, "model": network}
    experiment = Experiment(recipe=recipe, data=data, model=model, names=names, seed=arguments.seed)
    suited = SUITED.get((name, arguments.data))
    if suited is not None:
        experiment = with_overrides(experiment, suited)
    if arguments.labelled_share is not None:
        experiment = semi_supervised(experiment, _share(arguments.labelled_share))
    if arguments.size is not None:
        experiment = replace(experiment, data=_with_size(experiment.data, _size(arguments.size)))
    experiment = with_overrides(tiny(experiment) if arguments.smoke else experiment, arguments.set)
    if arguments.translated_root is not None and isinstance(experiment.recipe.translation, Fda | CycleGan):
        raise UserError(
            "--translated-root gives images that are translated already, and --set translation names another way to "
            "translate them: leave one of the two out"
        )
    return control_of(experiment) if arguments.control else experiment


def _from_scratch(data: Data) -> Data:
    """With batch-norm that is trained: frozen, it would keep mean 0 and variance 1 in a network without weights."""
    schedules = {
        name: schedule if name == "translation" else replace(schedule, batch_norm="train")
        for name, schedule in data.schedules.items()
    }
    return replace(data, schedules=schedules)


def usual_recipe(data: str) -> str:
    """The recipe of a run that does not say one."""
    return "cbst_sp" if data in EMBEDDED else "best"


def _named(options: dict, name: str, kind: str):
    if name not in options:
        close = difflib.get_close_matches(name, options, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "--list shows them all"
        raise UserError(f"there is no {kind} '{name}': {hint}")
    return options[name]


def _with_folders(data: Data, arguments: Arguments) -> Data:
    """The data with the user's folders and label space.

    Raises:
        UserError: a folder is missing, or the user's photos are to take the place of streets.
    """
    if arguments.source_root is not None:
        if data.source.reader == "streetsim":  # what is held out of the streets says nothing of the user's images
            data = replace(data, source_evaluation=None)
        data = replace(data, source=_source_at(data.source, arguments.source_root))
    if arguments.target_root is not None:
        if data.target.reader == "streetsim":
            raise UserError(
                f"--target-root {arguments.target_root}: the target of --data {arguments.data} is built-in streets; "
                "network and schedules are for them. For your photos choose --data streetsim_camvid (--classes "
                "cityscapes19 for the classes of the streets), or --data folders with labelled images of your own"
            )
        root = _absolute(arguments.target_root)
        if data.evaluation is not None and data.evaluation.reader == data.target.reader:
            data = replace(data, evaluation=replace(data.evaluation, root=root))
        data = replace(data, target=replace(data.target, root=root))
    if arguments.eval_root is not None:
        data = replace(data, evaluation=Domain(reader="folders", root=_absolute(arguments.eval_root)))
    if arguments.classes is not None:
        data = replace(data, label_space=_absolute_if_file(arguments.classes))
    sources = () if arguments.labelled_share else (("--source-root", data.source),)
    for option, domain in (*sources, ("--target-root", data.target)):
        if domain.reader != "streetsim" and domain.root is None:
            raise UserError(f"--data {arguments.data} needs {option}: the folder where that data lies")
    return data


def _with_size(data: Data, size: tuple[int, int]) -> Data:
    """The data at another size; crops that are whole images stay whole, others are no larger."""
    smaller = (min(size[0], data.crop[0]), min(size[1], data.crop[1]))
    return replace(data, size=size, crop=size if data.crop == data.size else smaller)


def _translated(recipe: Recipe, root: Path) -> TranslatedImages:
    """The images in `root`, used as the recipe's own translation is."""
    return TranslatedImages(_absolute(root), **use_of(recipe.translation, TranslatedImages))


def _share(text: str) -> float:
    try:
        numerator, _, denominator = text.partition("/")
        share = float(numerator) / float(denominator or 1)
    except (ValueError, ZeroDivisionError):
        share = 0.0
    if not 0 < share < 1:
        raise UserError(f"--labelled-share {text}: expected a share between 0 and 1, for example 1/8")
    return share


def semi_supervised(experiment: Experiment, share: float) -> Experiment:
    """The experiment with a labelled part of the target as its source, all of it in every round (IAST, section 4.4)."""
    recipe = experiment.recipe
    if recipe.warm_up.domain == "target":
        raise UserError(
            "--labelled-share: the oracle has the labels of the whole target already; choose another recipe"
        )
    data, adaptation = replace(experiment.data, keep_source=True), recipe.adaptation
    if isinstance(adaptation, Rounds) and adaptation.source_share is not None:
        everything = SourceShare(share=1.0, step=0.0, maximum=1.0)
        recipe = replace(recipe, adaptation=replace(adaptation, source_share=everything))
    return replace(experiment, recipe=recipe, data=data, labelled_share=share)


def _source_at(source: Domain, root: Path) -> Domain:
    """The source read from `root`; the user's own labelled images take the place of the built-in streets."""
    place = _absolute(root)
    return Domain(reader="folders", root=place) if source.reader == "streetsim" else replace(source, root=place)


def _absolute(path: Path) -> str:
    """The path from wherever the run will be resumed, exported or evaluated."""
    return os.path.abspath(os.path.expanduser(path))


def _absolute_if_file(text: str) -> str:
    """Of an option that takes a name or a file."""
    return _absolute(Path(text)) if os.path.isfile(text) else text


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", text)
    if not match:
        raise UserError(f"--size {text}: expected HEIGHTxWIDTH, for example 256x512")
    height, width = int(match[1]), int(match[2])
    if min(height, width) < 32:
        raise UserError(f"--size {text}: height and width must be at least 32")
    return height, width


def tiny(experiment: Experiment) -> Experiment:
    """Every stage of the experiment with a few small steps and images: for --smoke and for tests."""
    data, adaptation, share = experiment.data, experiment.recipe.adaptation, experiment.labelled_share
    divided = 1 if share is None else ceil(1 / min(share, 1 - share))  # images, so that no part of the target is empty
    height, width = data.size
    size = (64, max(64, round(64 * width / height / 32) * 32))
    data = replace(
        data,
        size=size,
        crop=size,
        translator=Translator(channels=4, blocks=2, crop=size),
        schedules={name: _short(schedule, 6 if name == "warm_up" else 3) for name, schedule in data.schedules.items()},
        source=_few(data.source, 12),
        target=_few(data.target, max(8, divided)),
        evaluation=_few(data.evaluation, 4),
        source_evaluation=_few(data.source_evaluation, 4),
        minimum_source_images=min(data.minimum_source_images, 8),
    )
    recipe = experiment.recipe
    if isinstance(adaptation, Rounds):
        recipe = replace(recipe, adaptation=replace(adaptation, rounds=1))
    if recipe.alignment is not None:
        recipe = replace(recipe, alignment=replace(recipe.alignment, rounds=min(recipe.alignment.rounds, 2)))
    recipe = replace(recipe, watch=replace(recipe.watch, every=3))
    return replace(experiment, data=data, recipe=recipe)


def _short(schedule: Schedule, steps: int) -> Schedule:
    return replace(schedule, steps=steps, batch_size=min(schedule.batch_size, 2))


def _few(domain: Domain | None, count: int) -> Domain | None:
    return None if domain is None else replace(domain, count=count)


def catalogue():
    """The tables of --list."""
    from rich.table import Table

    recipes = Table("recipe", "paper", "on the streets", "published", title="Recipes (--recipe)", title_justify="left")
    for name, recipe in RECIPES.items():
        recipes.add_row(name, recipe.paper, recipe.measured, recipe.published)
    data = Table("data", "from -> to", "size", "needs", title="Data (--data)", title_justify="left")
    for name, pair in DATA.items():
        title = "; ".join(part for part in (pair.title, pair.note) if part)
        data.add_row(name, title, f"{pair.size[0]}x{pair.size[1]}", _needs(pair))
    models = Table("model", "network", "weights", "for", "paper", title="Models (--model)", title_justify="left")
    for name, network in NETWORKS.items():
        models.add_row(name, network.title, f"{network.parameters / 1e6:.1f} M", network.note, network.paper)
    for table in (recipes, data, models):
        table.columns[0].no_wrap = True  # names are typed, so they stay whole on a narrow terminal
    return recipes, data, models


def _needs(data: Data) -> str:
    pairs = (("--source-root", data.source), ("--target-root", data.target))
    return " ".join(option for option, domain in pairs if domain.reader != "streetsim") or "nothing"
