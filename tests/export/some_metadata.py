"""Metadata of a model that never was, for tests of what is read from a file."""

from training.prediction.model_metadata import ModelMetadata


def some_metadata(names: tuple[str, ...], **fields) -> ModelMetadata:
    """Whole metadata of these classes; `fields` replace the invented ones."""
    invented = {
        "names": names,
        "colors": tuple((index, 0, 0) for index in range(len(names))),
        "label_space": "invented",
        "class_sets": {"all": tuple(range(len(names)))},
        "training_size": (6, 10),
        "output_stride": 4,
        **dict.fromkeys(("network", "recipe", "paper", "data", "source", "target", "licence"), "invented"),
        "stage": "final",
        "precision": "fp32",
        "metrics": None,
        "selection": None,
        "version": "0",
    }
    return ModelMetadata(**{**invented, **fields})
