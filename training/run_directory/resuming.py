"""Going on with a run that was stopped, killed or finished: is it the same run, and what of it is whole?

`paths.py` tells how a run resumes; this is what happens before the loop of `stages/plan.py` takes over.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from training.command_line import Arguments, experiment_of, parse
from training.errors import UserError
from training.experiment_json import VERSION, experiment_to_json
from training.files.atomic import remove_leftovers
from training.run_directory.digests import is_inside, is_sound, read_digests
from training.run_directory.paths import STATE, STATE_BEFORE, RunDirectory, digest_of_stages, environment
from training.settings.experiment import Experiment

SHOWN = 6  # differences
CHANGEABLE = re.compile(r"data\.schedules\.\w+\.accumulate")
"""Settings that a resumed run may have anew: they change the result by rounding alone."""
WORDS = {"paper", "measured", "published", "data.title", "data.note"}
"""What is said of recipe and data: of no effect on a run, so another version may say it in other words."""
FILES_OR_NAMES = ("classes", "weights")
"""Options that take the path of a file or the name of something built in."""


def resume(path: Path, arguments: Sequence[str]) -> tuple[RunDirectory, Experiment]:
    """The run in `path`, locked, at its last whole stage, and its experiment.

    Args:
        arguments: the command line, `--resume` in it.

    Raises:
        UserError: no run there, one that is at work, one of another version that does not fit, or options that ask for
            another experiment than the one that was begun.
    """
    directory, experiment = RunDirectory.reopen(path)
    directory.lock()
    try:
        directory.begin(experiment.data.label_space)
        refuse_other_settings(directory, experiment)
        state = sound_state(directory)
        experiment = with_changes(directory, experiment, arguments)
        mend(directory, state)
        note_environment(directory)
    except BaseException:
        directory.unlock()
        raise
    return directory, experiment


def with_changes(directory: RunDirectory, experiment: Experiment, arguments: Sequence[str]) -> Experiment:
    """The experiment with the parts that a batch is computed in as options beside `--resume` ask for; recipe.json too.

    Raises:
        UserError: the options ask for something else than was begun, with the differences.
    """
    if sum(argument.startswith("--") for argument in arguments) < 2:
        return experiment
    recipe = directory.read_json("recipe.json")
    begun = begun_with(recipe)
    plain = replace(begun, out=directory.path, set=(), smoke=False, control=False, list=False, show=False)
    given = parse(arguments, plain)  # what is not given is as it was begun
    kept = [f"{key}={value}" for key, value in flat_settings(experiment).items() if CHANGEABLE.fullmatch(key)]
    asked = replace(
        given,
        set=(*begun.set, *kept, *given.set),
        smoke=begun.smoke or given.smoke,
        control=begun.control or given.control,
    )
    other = experiment_of(asked)
    begun_as = directory.asked_experiment  # with the user's own label space file; the run goes on with its copy
    if asked.classes == begun.classes:
        other = _in_space(other, begun_as)
    was = {"out": directory.path.resolve(), **_start(begun), **_fixed(begun_as)}
    now = {"out": asked.out.resolve(), **_start(asked), **_fixed(other)}
    if changes := differences(was, now):
        raise UserError(
            f"{directory.path} was begun with other settings than are asked for now ({changes}): give --resume alone "
            "to go on as it was begun, or begin another run with --out"
        )
    if other != begun_as:
        directory.write_json("recipe.json", {**recipe, "experiment": experiment_to_json(other)})
    return _in_space(other, experiment)


def _in_space(experiment: Experiment, other: Experiment) -> Experiment:
    """The experiment with the label space of another."""
    return replace(experiment, data=replace(experiment.data, label_space=other.data.label_space))


def begun_with(recipe: dict) -> Arguments:
    """The arguments that the run of this recipe.json was begun with, relative paths taken from where it was begun."""
    begun, folder = parse(recipe["arguments"]), recipe.get("working_directory")
    if folder is None:  # of a version that did not keep it
        return begun
    paths = {name: Path(folder, given.expanduser()) for name, given in vars(begun).items() if isinstance(given, Path)}
    texts = {name: os.path.join(folder, given) for name in FILES_OR_NAMES if (given := getattr(begun, name))}
    return replace(begun, **paths, **{name: path for name, path in texts.items() if os.path.isfile(path)})


def _fixed(experiment: Experiment) -> dict[str, object]:
    """The settings that a run keeps to its end."""
    return {key: value for key, value in decisive_settings(experiment).items() if not CHANGEABLE.fullmatch(key)}


def decisive_settings(experiment: Experiment) -> dict[str, object]:
    """The settings that the result of a run depends on, by the keys that --set takes."""
    return {key: value for key, value in flat_settings(experiment).items() if key not in WORDS}


def differences(was: dict[str, object], now: dict[str, object]) -> str:
    """What differs between two experiments' settings, the first few; "" if nothing does."""
    changes = [f"{key}: {was.get(key)} -> {now.get(key)}" for key in {**was, **now} if was.get(key) != now.get(key)]
    more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return "; ".join(changes[:SHOWN]) + more


def asked_start(arguments: Arguments) -> dict[str, str | None] | None:
    """`--warm-start` as recipe.json keeps it, see `warm_start_of`; UserError for its pixels without it."""
    if arguments.warm_start is None:
        if arguments.warm_start_pixels is not None:
            raise UserError("--warm-start-pixels says what the model of --warm-start wants: give that too")
        return None
    return {"path": str(arguments.warm_start.expanduser().resolve()), "pixels": arguments.warm_start_pixels}


def _start(arguments: Arguments) -> dict[str, object]:
    path = arguments.warm_start and arguments.warm_start.expanduser().resolve()
    return {"warm_start": path, "warm_start_pixels": arguments.warm_start_pixels}


def refuse_other_settings(directory: RunDirectory, experiment: Experiment) -> None:
    """Raise UserError if the run was begun with a setting that this version does not have."""
    unknown = flat_settings(directory.read_json("recipe.json")["experiment"]).keys() - flat_settings(experiment).keys()
    if unknown:
        raise UserError(
            f"{directory.path} was begun by {directory.begun_by} with the setting '{min(unknown)}', which StreetShift "
            f"{VERSION} does not know: finish it with the version that began it"
        )


def flat_settings(value: Experiment | dict, place: str = "") -> dict[str, object]:
    """Settings by the keys that --set takes, the names of recipe, data and model first."""
    if isinstance(value, Experiment):
        settings = experiment_to_json(value)
        return flat_settings({"names": settings.pop("names"), **settings})
    if not isinstance(value, dict):
        return {place.removeprefix("recipe."): value}
    return {
        key: setting
        for name, part in value.items()
        for key, setting in flat_settings(part, f"{place}.{name}" if place else name).items()
    }


def mend(directory: RunDirectory, state: dict) -> None:
    """Bring the directory to its last whole stage, and say what was damaged.

    Of a stage that has lost nothing but translated images they are removed, and it stays finished: the run makes them
    again where it needs them.
    """
    remove_leftovers(directory.path)
    if state["version"] != VERSION:
        _warn(f"{directory.path} was begun by StreetShift {state['version']}", f"version {VERSION} goes on with it")
    for stage, figures in state["stages"].items():
        damaged = [directory.path / name for name in damaged_files(directory, stage, figures)]
        lost = next((path for path in damaged if path.parent != directory.translated), None)
        if lost is not None:
            _warn(f"{lost} is damaged or missing", f"{stage} and what follows it are done again")
            go_back(directory, state, stage)
            return
        if damaged:
            more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
            _warn(f"{damaged[0]}{more} damaged or missing", "made again if a stage is left that needs it")
        for path in damaged:
            path.unlink(missing_ok=True)
    if directory.partial_stage in (None, *state["stages"]):
        directory.remove_partials()


def sound_state(directory: RunDirectory) -> dict:
    """What state.json says; if that is damaged the one before it, which takes its place.

    Raises:
        UserError: both are damaged, or were written by a version that kept no digests.
    """
    states = [_state(directory, name) for name in (STATE, STATE_BEFORE)]
    if states[0] is not None:
        return states[0]
    path = directory.path / STATE
    if states[1] is None:
        raise UserError(
            f"{path} is damaged or missing, or of an earlier StreetShift ({directory.begun_by} began this run), so it "
            "cannot be resumed: begin a new run; the weights in checkpoints/ are as they were"
        )
    _warn(f"{path} is damaged or missing", "the one before it is used, and the stage after it is done again")
    directory.write_state(states[1])
    return states[1]


def _state(directory: RunDirectory, name: str) -> dict | None:
    try:
        state = directory.read_json(name)
        return state if state["sha256"] == digest_of_stages(state["stages"]) else None
    except (UserError, KeyError, TypeError):
        return None


def damaged_files(directory: RunDirectory, stage: str, figures: dict) -> list[str]:
    """The files of a finished stage that are missing or not as they were, relative to the run; the list of their
    digests alone if that is."""
    listing = directory.digests(stage)
    if not is_sound(listing, figures["digests"]):
        return [listing.relative_to(directory.path).as_posix()]
    listed = read_digests(listing).items()
    return [name for name, digest in listed if not is_sound(directory.path / name, digest)]


def go_back(directory: RunDirectory, state: dict, stage: str) -> None:
    """Make `stage` and those after it unfinished, and remove what the stage has left.

    Translated images that are whole stay: each is made by itself, so the stage makes the others alone.
    """
    listing = directory.digests(stage)
    listed = {directory.path / name: digest for name, digest in read_digests(listing).items() if is_inside(name)}
    trusted = is_sound(listing, state["stages"][stage]["digests"])
    directory.unfinish(stage)
    for path in [*directory.files_of(stage), *listed, listing]:
        if not (trusted and path.parent == directory.translated and is_sound(path, listed[path])):
            path.unlink(missing_ok=True)


def note_environment(directory: RunDirectory) -> None:
    """Say, and write down, that the run goes on with other versions or on another machine than it began."""
    told, now = directory.read_json("environment.json"), environment()
    begun, later = {**told}, told.get("continued_with", [])
    begun.pop("continued_with", None)
    last = later[-1] if later else begun
    other = [key for key in {**last, **now} if last.get(key) != now.get(key)]
    if other:
        _warn(
            f"{directory.path} was begun with other {', '.join(other)}",
            "the result may differ in the last digits from that of a run that was never stopped",
        )
        directory.write_json("environment.json", {**begun, "continued_with": [*later, now]})


def _warn(what: str, consequence: str) -> None:
    from training.progress import console  # rich takes its time, and --help does not wait for it

    console.print(f"{what}: {consequence}", style="yellow", markup=False)
