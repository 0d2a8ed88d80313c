"""What a selector is: a labelling rule as a value. It is fitted to the probability maps of all images, then it labels.

    selector = ClassBalancedSelector(portion=0.2)
    fitted = selector.fit(maps)              # maps() yields the probability map of one image after the other
    label = fitted.label(probs)              # uint8 [h, w], 255 = not selected
    content = fitted.to_json()               # for a manifest, for the metadata of a model
    from_json(content).label(probs)          # the same label

`label_all` does both for a whole set of images. An *ordered* selector (`ordered = True`) labels the images while its
thresholds follow them, so its labels depend on the order of the images; what it is fitted to at the end labels later
images with thresholds that no longer move.

A new selector is one module, called as its settings' `kind`, and one dataclass in `training/settings/selectors.py`,
called as the selector without the ending `Selector`. Nothing else knows it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from training.distribution.shares import Workers
from training.errors import UserError
from training.probability_maps.enlarging import Enlarged
from training.pseudo_labels.spatial_prior import pack_prior, unpack_prior

IGNORE = 255
Probs = np.ndarray | Enlarged
"""A probability map [h, w, c] in 0..1: a float array, or coarse probabilities that stand for one."""


class Maps(Protocol):
    """Probability maps of a set of images. It may have a method `some`, as `maps` but of a part of the images, spread
    over all, that costs less."""

    def __call__(self) -> Iterable[Probs]:
        """Yield the maps, from the start at each call, in the same order. A map must not be changed afterwards."""


class Soft(NamedTuple):
    """What soft labels are made with: y_k ~ (p_k / thresholds_k) ** (1 / alpha). thresholds: float32 [c]."""

    thresholds: np.ndarray
    alpha: float


@dataclass(frozen=True, eq=False)
class Fitted(ABC):
    """A selector after it has seen all images.

    thresholds: float [c], infinite = the class has none. pixels: int64 [c], pixels of the images per arg-max class.
    images: how many there were.
    """

    selector: "Selector"
    thresholds: np.ndarray
    pixels: np.ndarray
    images: int

    @abstractmethod
    def label(self, probs: Probs) -> np.ndarray:
        """The pseudo-label of one image, uint8 [h, w], 255 = not selected. Several threads may call it."""

    @property
    def classes(self) -> int:
        return len(self.pixels)

    @property
    def soft(self) -> Soft | None:
        """How the soft labels that a network is trained on are made; None where it is trained on the hard ones."""
        return None

    @property
    def mean_confidence(self) -> np.ndarray | None:
        """float64 [c], the selector's own mean confidence of what it selected; None = the plain mean is meant."""
        return None

    def rule_in_words(self, class_id: int) -> str:
        """What a pixel of this class must reach, in few words: for a cell of a table."""
        value = self.thresholds[class_id]
        return f"{value:.3f}" if np.isfinite(value) else "never"

    def describe(self, class_names: Sequence[str] | None = None) -> str:
        """The selector in words, and what fitting it found that a reader should know. class_names: None = not known."""
        return self.selector.describe()

    def figures(self) -> dict[str, Any]:
        """What a manifest and a report tell beyond `to_json`."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """Everything that labels other images, as plain JSON values."""
        return {
            **self.selector.to_json(),
            "thresholds": [float(value) if np.isfinite(value) else None for value in self.thresholds],
            "pixels": self.pixels.tolist(),
            "images": self.images,
        }


class Labelling(ABC):
    """The labelling of one set of images: iterate over it once, then ask for `fitted`."""

    @property
    @abstractmethod
    def fitted(self) -> Fitted:
        """What labels later images; of an ordered selector only after all images."""

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[Probs, Callable[[Probs], np.ndarray]]]:
        """Yield each map, in order, with the function that labels it, which another thread may call."""


class _LabellingByFitted(Labelling):
    """All images are labelled with what was fitted to all of them."""

    def __init__(self, fitted: Fitted, maps: Maps):
        self._fitted, self._maps = fitted, maps

    @property
    def fitted(self) -> Fitted:
        return self._fitted

    def __iter__(self) -> Iterator[tuple[Probs, Callable[[Probs], np.ndarray]]]:
        return ((probs, self._fitted.label) for probs in self._maps())


def parameter(default: Any, meaning: str) -> Any:
    """A dataclass field that command lines offer as an option. meaning: one sentence with its range, for `--help`."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, eq=False, kw_only=True)
class Selector(ABC):
    """A labelling rule with its parameters. Parameters are dataclass fields, see `parameter`, checked when it is made.

    kind: of its settings, in JSON, and name of its module. short: its name in the papers, on command lines and on the
    page. meaning: in a few words. shown: the parameters that a report tells of, the first says how much is kept.
    ordered: labels depend on the order of the images. gives_soft_labels: `Fitted.soft` is not None.
    """

    kind: ClassVar[str]
    short: ClassVar[str]
    meaning: ClassVar[str]
    shown: ClassVar[tuple[str, ...]] = ()
    ordered: ClassVar[bool] = False
    gives_soft_labels: ClassVar[bool] = False
    prior: ClassVar[np.ndarray | None] = None  # a field of selectors that take a spatial prior

    @abstractmethod
    def fit(self, maps: Maps, workers: Workers | None = None) -> Fitted:
        """Fit to all images.

        workers: other processes that have other images of the same set; the result is that of all, to the bit.
        Raises UserError where there are no maps, and for NaN, negative values and changing numbers of classes.
        """

    @classmethod
    @abstractmethod
    def read(cls, content: Mapping[str, Any]) -> Fitted:
        """The `Fitted` whose `to_json` gave `content`; other keys are left out.

        Raises:
            KeyError, TypeError, ValueError, OverflowError, zlib.error, UserError: something is missing or odd.
        """

    def label_all(self, maps: Maps, workers: Workers | None = None) -> Labelling:
        """Fit to all images and label each; arguments and errors as in `fit`."""
        return _LabellingByFitted(self.fit(maps, workers), maps)

    @classmethod
    def options(cls) -> dict[str, Field]:
        """The parameters that command lines offer, by name; `metadata["meaning"]` tells what each means."""
        return {entry.name: entry for entry in fields(cls) if "meaning" in entry.metadata}

    @classmethod
    def takes_prior(cls) -> bool:
        """Can it weight the probabilities by a spatial prior?"""
        return any(entry.name == "prior" for entry in fields(cls))

    @classmethod
    def from_settings(cls, settings: Any, number: int, prior: np.ndarray | None = None) -> "Selector":
        """The selector of round `number` (1 = first), as its dataclass in `training/settings/selectors.py` says."""
        told = {name: getattr(settings, name) for name in cls.options() if hasattr(settings, name)}
        told |= {} if prior is None else {"prior": prior}
        return cls(**(told | cls.in_round(settings, number)))

    @classmethod
    def in_round(cls, settings: Any, number: int) -> dict[str, Any]:
        """The parameters that change from round to round."""
        return {}

    def refuse(self, ranges: Mapping[str, tuple[bool, str]]) -> None:
        """Raise UserError for the first parameter that is out of its range.

        ranges: by parameter whether it is right, and what is expected.
        """
        for name, (right, expected) in ranges.items():
            if not right:
                raise UserError(f"The selector {self.short} has {name} {getattr(self, name)}: expected {expected}.")

    @property
    def name(self) -> str:
        """As `short`, with _sp (spatial prior) where it weights by one."""
        return self.short if self.prior is None else f"{self.short}_sp"

    @property
    def parameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.options()}

    @property
    def shown_parameters(self) -> dict[str, Any]:
        """Those that a report tells of."""
        return {name: getattr(self, name) for name in self.shown}

    def describe(self) -> str:
        """In words: "cbst, portion 0.20"."""
        return ", ".join([self.name, *(f"{name} {value:.2f}" for name, value in self.shown_parameters.items())])

    def to_json(self) -> dict[str, Any]:
        """Kind and parameters; the spatial prior, if any, packed small (see `pack_prior`)."""
        packed = {} if self.prior is None else {"prior": pack_prior(self.prior)}
        return {"kind": self.kind, **self.parameters, **packed}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Selector":
        """The selector whose `to_json` gave `content`; errors as in `read`."""
        told = {name: _checked(content[name], entry.type) for name, entry in cls.options().items()}
        if cls.takes_prior() and content.get("prior") is not None:
            told["prior"] = unpack_prior(content["prior"])
        return cls(**told)


def _checked(value: Any, kind: Any) -> Any:
    """A parameter from JSON: a float may be written as a whole number, an int not as a float, nothing as a text."""
    allowed = {float: (int, float), int: (int,)}.get(kind)
    if allowed is not None and type(value) not in allowed:
        raise ValueError(f"a number was expected, not {value!r}")
    return value


def read_common(content: Mapping[str, Any], least: float) -> dict[str, Any]:
    """thresholds (float64, at least `least`; null = infinity), pixels and images of `Fitted.to_json`, checked.

    Raises:
        KeyError, TypeError, ValueError: something is missing or odd.
    """
    values = [np.inf if value is None else value for value in content["thresholds"]]
    if not all(type(value) in (int, float) and value >= least for value in values):
        raise ValueError(f"expected a threshold of at least {least}, or null, per class")
    thresholds, pixels = np.array(values, np.float64), read_counts(content["pixels"])
    if not 0 < len(thresholds) == len(pixels) <= IGNORE:
        raise ValueError("expected a threshold and a count of pixels per class")
    return {"thresholds": thresholds, "pixels": pixels, "images": int(read_counts([content["images"]])[0])}


def read_counts(values: list[int]) -> np.ndarray:
    """int64 [n]; ValueError for anything but whole numbers from 0 up."""
    if not all(type(value) is int and 0 <= value < 2**62 for value in values):
        raise ValueError("counts were expected")
    return np.array(values, np.int64)


def no_maps() -> UserError:
    return UserError("There are no probability maps to label: expected at least one image.")
