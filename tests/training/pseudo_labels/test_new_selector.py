"""A new selector is one module and one dataclass in the settings: everything else finds it."""

import importlib
import json
import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest

import training.pseudo_labels
from training import label
from training.prediction.label_images import LabelsInMemory, Predictions, label_images
from training.pseudo_labels import build_selector, from_json
from training.pseudo_labels.registry import choices, selectors
from training.settings import stages
from training.settings.selectors import ClassBalanced, GlobalThreshold

MODULE = """
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from training.pseudo_labels.selector import Fitted, Selector, parameter, read_common


@dataclass(frozen=True, eq=False)
class EntropyLimitFitted(Fitted):
    def label(self, probs):
        entropy = -(probs * np.log(probs)).sum(axis=-1)
        label = probs.argmax(axis=-1).astype(np.uint8)
        return np.where(entropy <= self.thresholds[label], label, np.uint8(255))


@dataclass(frozen=True, eq=False, kw_only=True)
class EntropyLimitSelector(Selector):
    kind: ClassVar = "entropy_limit"
    short: ClassVar = "limit"
    meaning: ClassVar = "pixels of an entropy below a limit"
    limit: float = parameter(0.5, "The largest entropy of a selected pixel.")

    def fit(self, maps, workers=None):
        counts = [np.bincount(probs.argmax(axis=-1).ravel(), minlength=probs.shape[-1]) for probs in maps()]
        return EntropyLimitFitted(self, np.full(len(counts[0]), self.limit), np.sum(counts, axis=0), len(counts))

    @classmethod
    def read(cls, content):
        return EntropyLimitFitted(cls.from_json(content), **read_common(content, 0.0))
"""


@dataclass(frozen=True)
class EntropyLimit:
    kind: Literal["entropy_limit"] = "entropy_limit"
    limit: float = 0.5


@dataclass(frozen=True)
class RoundsWithOneMore:
    selector: GlobalThreshold | ClassBalanced | EntropyLimit = EntropyLimit()


class Maps(Predictions):
    names, mine, source, classes, class_names = ("a", "b"), range(2), "maps", 3, ("x", "y", "z")
    maps = np.random.default_rng(0).dirichlet(np.ones(3) * 0.3, (2, 8, 9)).astype(np.float32) * 0.99 + 0.003

    def __call__(self):
        return iter(self.maps)


@pytest.fixture
def _one_more(tmp_path, monkeypatch):
    (tmp_path / "entropy_limit.py").write_text(MODULE)
    monkeypatch.setattr(training.pseudo_labels, "__path__", [*training.pseudo_labels.__path__, str(tmp_path)])
    monkeypatch.setattr(stages, "Rounds", RoundsWithOneMore)
    importlib.invalidate_caches()
    for cached in (selectors, choices):
        cached.cache_clear()
    yield
    sys.modules.pop("training.pseudo_labels.entropy_limit", None)
    for cached in (selectors, choices):
        cached.cache_clear()


@pytest.mark.usefixtures("_one_more")
def test_a_new_selector_is_found_fitted_written_read_and_offered():
    assert list(choices()) == ["st", "st_sp", "cbst", "cbst_sp", "limit"]
    assert "limit" in [name for name, *_ in label._option_fields()]
    selector, kept = build_selector(EntropyLimit(limit=0.4), number=2), LabelsInMemory()
    found = label_images(Maps(), selector, kept)
    assert (found.figures()["selector"], found.figures()["parameters"]) == ("limit", {})
    manifest = json.loads(json.dumps(kept.manifest))
    assert (manifest["kind"], manifest["limit"], "portion" in manifest) == ("entropy_limit", 0.4, False)
    for probs, written in zip(Maps.maps, kept.labels.values(), strict=True):
        assert 0 < np.mean(written != 255) < 1
        np.testing.assert_array_equal(from_json(manifest).label(probs), written)
