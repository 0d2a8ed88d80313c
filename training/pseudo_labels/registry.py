"""Selectors by their kind: `training/pseudo_labels/KIND.py` holds the selector of the settings with this kind.

Nothing here names a selector, and reading one from JSON does not import the settings, which need a library that a
machine with the exported model only may lack.
"""

import functools
import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

import numpy as np

from training.errors import UserError
from training.pseudo_labels.selector import Fitted, Selector


def selector_class(kind: str) -> type[Selector]:
    """The class of the selector of this kind.

    Raises:
        ValueError: there is none.
    """
    module = f"{__package__}.{kind}"
    if not isinstance(kind, str) or not kind.isidentifier() or importlib.util.find_spec(module) is None:
        raise ValueError(f"there is no selector of the kind {kind!r}")
    for found in vars(importlib.import_module(module)).values():
        if isinstance(found, type) and issubclass(found, Selector) and getattr(found, "kind", None) == kind:
            return found
    raise ValueError(f"there is no selector of the kind {kind!r}")


def from_json(content: Mapping[str, Any]) -> Fitted:
    """The `Fitted` whose `to_json` gave `content`; other keys are left out.

    Raises:
        KeyError, TypeError, ValueError, OverflowError, zlib.error, UserError: something is missing or odd; the caller
            knows where `content` comes from.
    """
    return selector_class(content["kind"]).read(content)


def build_selector(settings: Any, number: int, prior: np.ndarray | None = None) -> Selector:
    """The selector of round `number` (1 = first) as one of the dataclasses of `Rounds.selector` asks.

    prior: the spatial prior where the settings ask for one.

    Raises:
        UserError: a parameter outside its range.
    """
    return selector_class(settings.kind).from_settings(settings, number, prior)


@functools.cache
def selectors() -> dict[str, type[Selector]]:
    """All selectors by kind, in the order of the settings."""
    from training.settings.stages import Rounds

    kinds = [settings.kind for settings in get_args(get_type_hints(Rounds)["selector"])]
    return {kind: selector_class(kind) for kind in kinds}


@dataclass(frozen=True)
class Choice:
    """A selector as command lines and the page offer it. with_prior: it weights by a spatial prior."""

    name: str
    selector: type[Selector]
    with_prior: bool

    @property
    def meaning(self) -> str:
        own = self.selector
        return f"{own.short} on probabilities weighted by a spatial prior" if self.with_prior else own.meaning

    def check_takes_prior(self) -> None:
        """Raise UserError if it would not use a spatial prior."""
        if not self.with_prior:
            weighting = [choice.name for choice in choices().values() if choice.with_prior]
            raise UserError(
                f"The selector {self.name} uses no spatial prior but one was given: leave it out or choose one of "
                f"{', '.join(weighting)}."
            )

    def build(self, prior: np.ndarray | None, like: Selector | None = None, **parameters: Any) -> Selector:
        """The selector; what is not given is as in `like`, where that is of the same kind, else as published.

        Raises:
            UserError: a prior is missing or not used, or a parameter is outside its range.
        """
        if self.with_prior and prior is None:
            raise UserError(
                f"The selector {self.name} weights by a spatial prior and none was given: give one (--prior)."
            )
        if prior is not None:
            self.check_takes_prior()
        known = like.parameters if isinstance(like, self.selector) else {}
        return self.selector(**{**known, **parameters, **({"prior": prior} if self.with_prior else {})})


@functools.cache
def choices() -> dict[str, Choice]:
    """What can be chosen, by name: each selector, and those that can weight by a spatial prior once more with one."""
    offered = [
        Choice(f"{selector.short}_sp" if with_prior else selector.short, selector, with_prior)
        for selector in selectors().values()
        for with_prior in ((False, True) if selector.takes_prior() else (False,))
    ]
    return {choice.name: choice for choice in offered}


def choice_called(name: str) -> Choice:
    """The choice of this name; UserError if there is none."""
    if name not in choices():
        raise UserError(f"There is no selector {name!r}: expected one of {', '.join(choices())}.")
    return choices()[name]
