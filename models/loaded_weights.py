"""What loading weights can end in: a report of what was loaded and what was not, or one sentence."""

from dataclasses import dataclass

import keras

SHOWN = 6  # names in a list of the report


class WeightsError(ValueError):
    """Weights that cannot be had or do not fit; the text is one sentence for the user."""


@dataclass(frozen=True)
class LoadedWeights:
    """What `weights.load_weights` did.

    origin: "none", "imagenet" or the file's path. kind: "nothing", "backbone" or "checkpoint" (the whole network).
    loaded: names of the layers that got weights. missing: layers the source lacks, left as they were (random).
    mismatched: layers the source holds in another shape, left as they were.
    unexpected: tensors of the source that no layer takes. notes: sentences on what else a user has to know, such as a
    licence.
    """

    origin: str
    kind: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    unexpected: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self):
        if self.kind == "nothing":
            return "all layers start at random"
        text = f"{self.kind} weights from {self.origin}: {len(self.loaded)} layers loaded"
        states = (
            ("start at random", self.missing),
            ("differ in shape and start at random", self.mismatched),
            ("tensors of the file are not used", self.unexpected),
        )
        for state, names in states:
            if names:
                text += f"; {len(names)} {state} ({', '.join(names[:SHOWN])}{' ...' if len(names) > SHOWN else ''})"
        return ". ".join([text, *self.notes])


def layers_with_weights(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in model.layers if layer.weights]


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
