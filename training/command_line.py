"""The command line of a run: three choices, folders, overrides -> an `Experiment`. Imports nothing heavy."""

import difflib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from models.catalogue import NETWORKS
from training.data.presets import DATA
from training.errors import UserError
from training.recipes import RECIPES
from training.settings import Data, Domain, Experiment, Model, Recipe


@dataclass(frozen=True)
class Arguments:
    """Adapt a street-scene segmenter to images without labels, and report what it gained.

    Try `python training/run.py --recipe cbst_sp` (embedded data, no download), or `--list` for everything there is.
    """

    recipe: str = "cbst_sp"
    """The method; see --list."""
    data: str = "streetsim"
    """The pair of domains; see --list. Your own photos: streetsim_camvid or folders."""
    model: str | None = None
    """The network; see --list. Not given: the one that suits the data."""
    weights: str | None = None
    """Start of the backbone: imagenet, none or a file. Not given: what suits the data."""
    out: Path | None = None
    """The run directory. Not given: runs/RECIPE-DATA-SEED."""
    resume: Path | None = None
    """Continue the run in this directory; everything else is read from it."""
    warm_start: Path | None = None
    """A finished run with the same data and model whose warm-up is taken over."""
    seed: int = 0
    """Of initial weights, data order and augmentation."""
    source_root: Path | None = None
    """Where the labelled source data lies."""
    target_root: Path | None = None
    """Where the unlabelled target images lie."""
    eval_root: Path | None = None
    """Labelled images of the target (images/ and labels/), used for figures only."""
    classes: str | None = None
    """Label space: cityscapes19, synthia16, cross_city13, robotcar9, camvid11, or your own JSON file."""
    size: str | None = None
    """HEIGHTxWIDTH that images are brought to."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE")] = ()
    """Overrides, e.g. --set adaptation.rounds=5 data.warm_up.steps=2000; --show prints the keys."""
    list: bool = False
    """List recipes, data and models, and stop."""
    show: bool = False
    """Print the resolved experiment, and stop."""
    smoke: bool = False
    """Every stage of the recipe in tiny: seconds, on any machine, to see that it works."""


def parse(argv: list[str] | None = None) -> Arguments:
    return tyro.cli(Arguments, args=argv, prog="training/run.py", config=(tyro.conf.FlagCreatePairsOff,))


def experiment_of(arguments: Arguments) -> Experiment:
    """The experiment that the arguments describe.

    Raises:
        UserError: an unknown name or key, a value that does not fit, a missing folder option.
    """
    recipe = _named(RECIPES, arguments.recipe, "recipe")
    data = _with_folders(_named(DATA, arguments.data, "data"), arguments)
    network = arguments.model or data.network
    _named(NETWORKS, network, "model")
    same_network = network == data.network
    model = Model(
        network=network,
        weights=arguments.weights or (data.weights if same_network else "none" if network == "compact" else "imagenet"),
        output_stride=data.output_stride if same_network else None,
    )
    names = {"recipe": arguments.recipe, "data": arguments.data, "model": network}
    experiment = Experiment(recipe=recipe, data=data, model=model, names=names, seed=arguments.seed)
    return with_overrides(tiny(experiment) if arguments.smoke else experiment, arguments.set)


def _named(options: dict, name: str, kind: str):
    if name not in options:
        close = difflib.get_close_matches(name, options, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "--list shows them all"
        raise UserError(f"there is no {kind} '{name}': {hint}")
    return options[name]


def _with_folders(data: Data, arguments: Arguments) -> Data:
    """The data with the user's folders, label space and size."""
    if arguments.source_root is not None:
        data = replace(data, source=_at(data.source, arguments.source_root))
    if arguments.target_root is not None:
        data = replace(data, target=_at(data.target, arguments.target_root))
        if data.evaluation is not None and data.evaluation.reader == data.target.reader:
            data = replace(data, evaluation=_at(data.evaluation, arguments.target_root))
    if arguments.eval_root is not None:
        data = replace(data, evaluation=Domain(reader="folders", root=str(arguments.eval_root)))
    if arguments.classes is not None:
        data = replace(data, label_space=arguments.classes)
    if arguments.size is not None:
        size = _size(arguments.size)
        smaller = (min(size[0], data.crop[0]), min(size[1], data.crop[1]))
        crop = size if data.crop == data.size else smaller
        data = replace(data, size=size, crop=crop)
    for option, domain in (("--source-root", data.source), ("--target-root", data.target)):
        if domain.reader != "streetsim" and domain.root is None:
            raise UserError(f"--data {arguments.data} needs {option}: the folder where that data lies")
    return data


def _at(domain: Domain, root: Path) -> Domain:
    """The domain read from `root`; folders of the user's own take the place of the embedded streets."""
    return Domain(reader="folders", root=str(root)) if domain.reader == "streetsim" else replace(domain, root=str(root))


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise UserError(f"--size {text}: expected HEIGHTxWIDTH, for example 256x512")
    height, width = int(match[1]), int(match[2])
    if min(height, width) < 32:
        raise UserError(f"--size {text}: height and width must be at least 32")
    return height, width


@dataclass(frozen=True)
class _Overridable:
    recipe: Recipe
    data: Data
    model: Model


def with_overrides(experiment: Experiment, overrides: tuple[str, ...]) -> Experiment:
    """Apply `key=value` overrides; keys start at the recipe's parts, or with "data." or "model.".

    tyro checks names and types. A part that the recipe does not use (None) has no keys.
    """
    if not overrides:
        return experiment
    args = [part for override in overrides for part in _option(override)]
    current = _Overridable(experiment.recipe, experiment.data, experiment.model)
    changed = _quietly(args, current)
    return replace(experiment, recipe=changed.recipe, data=changed.data, model=changed.model)


def _option(override: str) -> list[str]:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise UserError(f"--set {override}: expected KEY=VALUE, for example adaptation.rounds=5")
    root = key.split(".")[0]
    full = key if root in ("recipe", "data", "model") else f"recipe.{key}"
    return [f"--{full}", *value.split(",")]


def _quietly(args: list[str], current: _Overridable) -> _Overridable:
    import contextlib
    import io

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return tyro.cli(_Overridable, args=args, default=current, config=(tyro.conf.AvoidSubcommands,))
    except SystemExit as error:
        raise UserError(f"--set: {_words_of(said.getvalue())}; --show prints the keys there are") from error


def _words_of(box: str) -> str:
    """tyro's framed message as one line, in the words of --set."""
    text = re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]|-{3,}", " ", box)
    text = re.sub(r"For full helptext.*|Argument helptext:.*", "", " ".join(text.split()))
    text = text.removeprefix("Value error").removeprefix(" Unrecognized options").replace("Unrecognized options", "", 1)
    return re.sub(r"--(recipe\.)?(?=\w+\.)", "", " ".join(text.split())).strip(" :,")


def tiny(experiment: Experiment) -> Experiment:
    """Every stage of the experiment with a few small steps: for --smoke and for tests."""
    data, adaptation = experiment.data, experiment.recipe.adaptation
    height, width = data.size
    size = (64, max(64, round(64 * width / height / 32) * 32))
    data = replace(
        data,
        size=size,
        crop=size,
        warm_up=_short(data.warm_up, 6),
        adaptation=_short(data.adaptation, 3),
        source=_few(data.source, 12),
        target=_few(data.target, 8),
        evaluation=_few(data.evaluation, 4),
        source_evaluation=_few(data.source_evaluation, 4),
        minimum_source_images=min(data.minimum_source_images, 8),
    )
    recipe = experiment.recipe
    if adaptation is not None:
        recipe = replace(recipe, adaptation=replace(adaptation, rounds=min(adaptation.rounds, 2)))
    return replace(experiment, data=data, recipe=recipe)


def _short(stage, steps: int):
    return replace(stage, steps=steps, batch_size=min(stage.batch_size, 2))


def _few(domain: Domain | None, count: int) -> Domain | None:
    return replace(domain, count=count) if domain is not None and domain.reader == "streetsim" else domain


def catalogue():
    """The tables of --list."""
    from rich.table import Table

    recipes = Table("recipe", "paper", "published", title="Recipes (--recipe)", title_justify="left")
    for name, recipe in RECIPES.items():
        recipes.add_row(name, recipe.paper, recipe.published)
    data = Table("data", "from -> to", "size", "needs", title="Data (--data)", title_justify="left")
    for name, pair in DATA.items():
        data.add_row(name, pair.title, f"{pair.size[0]}x{pair.size[1]}", _needs(pair))
    models = Table("model", "network", "paper", title="Models (--model)", title_justify="left")
    for name, network in NETWORKS.items():
        models.add_row(name, network.title, network.paper)
    return recipes, data, models


def _needs(data: Data) -> str:
    pairs = (("--source-root", data.source), ("--target-root", data.target))
    return " ".join(option for option, domain in pairs if domain.reader != "streetsim") or "nothing"
