"""Overrides of an experiment, `key=value` as `--set` takes them: names and types are checked, parts are exchanged."""

import contextlib
import re
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import get_args, get_type_hints

import tyro

from training.errors import UserError
from training.experiment_json import OPTIONS, experiment_from_json, experiment_to_json
from training.settings.data import Data
from training.settings.experiment import Experiment, Model, Recipe

USE = ("alongside", "warm_up")
"""Settings that say where a recipe uses a part, whatever its kind: who exchanges the kind keeps them. Of a translation:
are the originals trained on too, does the warm-up see it. Constants of the same name may mean something else."""


@dataclass(frozen=True)
class _Overridable:
    recipe: Recipe
    data: Data
    model: Model


def with_overrides(experiment: Experiment, overrides: tuple[str, ...]) -> Experiment:
    """Apply `key=value` overrides; keys start at the recipe's parts, or with "data." or "model.".

    tyro checks names and types. A part that the recipe does not use (None) has no keys until it is switched on:
    `adaptation.mean_teacher=on`, or `off`; where there are several kinds, `adaptation.selector=InstanceAdaptive` or, as
    recipe.json calls it, `instance_adaptive`. Another kind has its own constants, but is used as the one before: see
    `USE`.
    """
    current = _Overridable(experiment.recipe, experiment.data, experiment.model)
    values = []
    for override in overrides:
        key, value = _split(override)
        kinds = _kinds(current, key.split("."))
        kind = next((name for name in kinds if name.lower() == value.replace("_", "").lower()), None)
        if kind is not None:
            path, chosen = key.split("."), kinds[kind]
            part = chosen and chosen(**use_of(_found(current, path), chosen))
            current = _replaced(current, path, part)
        elif kinds and "." not in value:
            raise UserError(f"--set {override}: {key.removeprefix('recipe.')} can be {', '.join(kinds)}")
        elif re.search(r"(^|,)-+[A-Za-z]", value):  # the parser would take it for an option
            raise UserError(f"--set {override}: {value} is no value; --show prints those there are")
        else:
            values.append((key, value.split(",")))
    changed = _changed(current, values)
    experiment = replace(experiment, recipe=changed.recipe, data=changed.data, model=changed.model)
    return experiment_from_json(experiment_to_json(experiment), OPTIONS)


def _split(override: str) -> tuple[str, str]:
    """Full key and value of `key=value`."""
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise UserError(f"--set {override}: expected KEY=VALUE, for example adaptation.rounds=5")
    return key if key.split(".")[0] in ("recipe", "data", "model") else f"recipe.{key}", value


def _found(part, path: list[str]):
    """What lies at `path` below a part; None where there is nothing."""
    for name in path:
        part = part.get(name) if isinstance(part, dict) else getattr(part, name, None)
    return part


def use_of(part, kind: type) -> dict:
    """The values of `USE` that a part has and another kind can have; {} of None."""
    names = {field.name for field in fields(kind)}
    return {name: getattr(part, name) for name in USE if hasattr(part, name) and name in names}


def _kinds(part, path: list[str]) -> dict[str, type | None]:
    """What a part of the experiment can be switched to, by name; empty where `path` names a plain value or nothing."""
    part = _found(part, path[:-1])
    if not is_dataclass(part) or path[-1] not in {field.name for field in fields(part)}:
        return {}
    options = get_args(get_type_hints(type(part))[path[-1]])
    classes = [option for option in options if is_dataclass(option)]
    kinds = {option.__name__: option for option in classes if _has_defaults(option)}
    on = {"on": next(iter(kinds.values()))} if kinds else {}
    return {**on, **({"off": None} if classes else {}), **kinds} if type(None) in options else kinds


def _has_defaults(kind: type) -> bool:
    return all(field.default is not MISSING or field.default_factory is not MISSING for field in fields(kind))


def _replaced(part, path: list[str], value):
    """`part` with the value at `path` replaced."""
    first, *rest = path
    new = _replaced(_found(part, [first]), rest, value) if rest else value
    return part | {first: new} if isinstance(part, dict) else replace(part, **{first: new})


def _changed(current: _Overridable, values: list[tuple[str, list[str]]]) -> _Overridable:
    """`current` with plain values replaced: (full key, words of the value).

    A parser of all settings takes 0.2 s to build. So each part is parsed alone, and all of them where that is refused:
    for the sentence, which names the whole key, and for values that are valid together alone.
    """
    parts: dict[str, list[str]] = {}
    for key, words in values:
        place, _, name = key.rpartition(".")
        parts.setdefault(place, []).extend((f"--{name}", *words))
    if all(is_dataclass(_found(current, place.split("."))) for place in parts):
        with contextlib.suppress(UserError):
            changed = current
            for place, args in parts.items():
                path = place.split(".")
                changed = _replaced(changed, path, _quietly(args, _found(changed, path)))
            return changed
    return _quietly([word for key, words in values for word in (f"--{key}", *words)], current)


def _quietly(args: list[str], part):
    """`part` as tyro changes it by command-line options, without tyro's output.

    Raises:
        UserError: what tyro would have printed.
    """
    import io

    said, config = io.StringIO(), (tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return tyro.cli(type(part), args=args, default=part, config=config)
    except SystemExit as error:
        raise UserError(f"--set: {_words_of(said.getvalue())}; --show prints the keys there are") from error


def _words_of(box: str) -> str:
    """tyro's framed message as one line, in the words of --set."""
    text = re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]|-{3,}", " ", box)
    text = re.sub(r"For full helptext.*|Argument helptext:.*", "", " ".join(text.split()))
    text = text.removeprefix("Value error").removeprefix(" Unrecognized options").replace("Unrecognized options", "", 1)
    return re.sub(r"--(recipe\.)?(?=\w+\.)", "", " ".join(text.split())).strip(" :,")
