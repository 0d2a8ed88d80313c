"""What an experiment does, in one sentence, from its resolved settings: for the console, the report and the card."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from training.settings.experiment import Experiment, Recipe
from training.settings.losses import Losses
from training.settings.stages import Alignment, Online, Rounds

SHARES = {0.25: "a quarter", 0.5: "half", 0.75: "three quarters"}
PARTS = ("rare_class_sampling", "class_mix", "copy_paste", "mining", "mixture", "adversarial_term")


def in_words(experiment: Experiment) -> str:
    """`best on folders: logit adjustment 0.3 and label shift 0.5, then self-training of 500 steps with label entropy
    labels at scales 1 and 1.5, three quarters of the way`; what every recipe has, a warm-up on the source, is told only
    where there is nothing else."""
    recipe = experiment.recipe
    clauses = [
        *([f"translation of the source ({recipe.translation.kind})"] if recipe.translation else []),
        *([_adjustment(recipe)] if recipe.adjusts_logits else []),
        *(_clause(part, experiment) for part in (recipe.alignment, recipe.adaptation) if part is not None),
    ]
    if not clauses:
        clauses = [f"training on the {recipe.warm_up.domain}'s labels alone"]
    names = experiment.names
    return f"{names.get('recipe', 'custom')} on {names.get('data', 'custom')}: {', then '.join(clauses)}"


def _adjustment(recipe: Recipe) -> str:
    parts = {"logit adjustment": recipe.logit_adjustment, "label shift": recipe.label_shift}
    return " and ".join(f"{name} {strength:g}" for name, strength in parts.items() if strength)


def _clause(part: Any, experiment: Experiment) -> str:
    """One part of a recipe; one of a kind that is not known here by its name."""
    words = CLAUSES.get(type(part))
    return part.kind.replace("_", " ") if words is None else words(part, experiment)


def _alignment(part: Alignment, experiment: Experiment) -> str:
    steps = experiment.data.schedules["alignment"].steps
    weight = "" if part.weight else ", adversarial term of weight 0"
    losses = _with(_losses(part.losses))
    return f"adversarial alignment of {_times(part.rounds)}{steps} steps{losses}{weight}{_blend(part.blend)}"


def _rounds(part: Rounds, experiment: Experiment) -> str:
    count, steps = experiment.data.rounds_of(part.rounds), experiment.data.schedules["rounds"].steps
    found = [f"{part.selector.kind.replace('_', ' ')} labels{_at_scales(part.label_scales)}"]
    found += ["spatial priors"] if getattr(part.selector, "spatial_prior", None) else []
    found += [] if part.mean_teacher is None else [_teacher(part.mean_teacher.scales)]
    found += [*_named(part), *_losses(part.losses)]
    return f"self-training of {_times(count)}{steps} steps{_with(found)}{_weight(part)}{_blend(part.blend)}"


def _online(part: Online, experiment: Experiment) -> str:
    steps = experiment.data.schedules["online"].steps
    found = [_teacher(part.mean_teacher.scales), *_named(part), *_losses(part.losses)]
    return f"{steps} online steps{_with(found)}{_weight(part)}{_blend(part.blend)}"


CLAUSES: dict[type, Callable[[Any, Experiment], str]] = {Alignment: _alignment, Rounds: _rounds, Online: _online}


def _times(count: int) -> str:
    return "" if count == 1 else f"{count} times "


def _with(parts: Sequence[str]) -> str:
    return f" with {', '.join(parts)}" if parts else ""


def _teacher(scales: Sequence[float]) -> str:
    return f"a teacher{_at_scales(scales)}" if _at_scales(scales) else "a mean teacher"


def _at_scales(scales: Sequence[float]) -> str:
    if tuple(scales) == (1.0,):
        return ""
    *first, last = (f"{scale:g}" for scale in scales)
    return f" at scales {', '.join(first)} and {last}" if first else f" at scale {last}"


def _named(part: Rounds | Online) -> list[str]:
    return [name.replace("_", " ") for name in PARTS if getattr(part, name, None) is not None]


def _losses(losses: Losses) -> list[str]:
    return [each.name.replace("_", " ") for each in fields(losses) if getattr(losses, each.name) is not None]


def _weight(part: Rounds | Online) -> str:
    return "" if part.target_weight == 1 else f", target labels of weight {part.target_weight:g}"


def _blend(share: float) -> str:
    return "" if share == 1 else f", {SHARES.get(share, f'{share:.0%}')} of the way"
