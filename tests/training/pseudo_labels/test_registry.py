"""What every selector promises: found by its kind, fitted, through JSON, built from its settings, offered by name."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest

from training.errors import UserError
from training.pseudo_labels import ClassBalancedSelector, build_selector, from_json, selector_class
from training.pseudo_labels.registry import choice_called, choices, selectors
from training.settings.selectors import ClassBalanced, InstanceAdaptive, LabelEntropy
from training.settings.stages import Rounds

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = get_args(get_type_hints(Rounds)["selector"])
MAPS = np.random.default_rng(0).dirichlet(np.ones(4) * 0.3, (5, 20, 24)).astype(np.float32)
LATER = np.random.default_rng(1).dirichlet(np.ones(4) * 0.3, (20, 24)).astype(np.float32)


def built(name):
    choice = choices()[name]
    return choice.build(np.full((20, 24, 4), 1, np.float32) if choice.with_prior else None)


def test_each_selector_is_the_module_and_the_settings_of_its_kind():
    assert list(selectors()) == [settings.kind for settings in SETTINGS]
    for settings, (kind, selector) in zip(SETTINGS, selectors().items(), strict=True):
        assert selector.__module__ == f"training.pseudo_labels.{kind}"
        assert selector.__name__ == f"{settings.__name__}Selector"
        assert selector_class(kind) is selector


def test_selectors_and_their_settings_have_one_default():
    for settings in SETTINGS:
        options = selector_class(settings.kind).options()
        shared = {entry.name: entry.default for entry in fields(settings) if entry.name in options}
        assert shared
        assert {name: options[name].default for name in shared} == shared


def test_what_is_offered():
    assert list(choices()) == ["st", "st_sp", "cbst", "cbst_sp", "lrent", "ias", "entropy_mixture"]
    assert all(choice.meaning for choice in choices().values())
    assert [name for name in choices() if built(name).name != name] == []
    assert all(
        option.metadata["meaning"] for selector in selectors().values() for option in selector.options().values()
    )


@pytest.mark.parametrize(
    "kind", ["thresholds", "selector", "registry", "ias", "", "os.path", "..class_balanced", 3, None]
)
def test_other_kinds_are_refused(kind):
    with pytest.raises(ValueError, match="no selector of the kind"):
        selector_class(kind)


@pytest.mark.parametrize("name", choices())
def test_a_fitted_selector_labels_the_same_after_json(name):
    fitted = built(name).fit(lambda: MAPS)
    content = json.loads(json.dumps(fitted.to_json()))
    again = from_json({**content, "later": 1})
    assert 0 < np.mean(fitted.label(LATER) != 255) < 1
    np.testing.assert_array_equal(again.label(LATER), fitted.label(LATER))
    assert again.to_json() == content
    assert (again.selector.name, again.images, again.classes) == (name, 5, 4)
    assert again.selector.parameters == fitted.selector.parameters
    assert (again.soft is not None) == fitted.selector.gives_soft_labels


@pytest.mark.parametrize("name", choices())
def test_labelling_a_set_labels_each_of_its_maps(name):
    labelling = built(name).label_all(lambda: iter(MAPS))
    steps = list(labelling)
    np.testing.assert_array_equal([probs for probs, _ in steps], MAPS)
    labels = np.array([label_of(probs) for probs, label_of in steps])
    assert (labels.dtype, labels.shape) == (np.uint8, (5, 20, 24))
    expected = np.array([labelling.fitted.label(probs) for probs in MAPS])
    assert np.array_equal(labels, expected) == (not built(name).ordered)
    np.testing.assert_array_equal(labels[-1], expected[-1])  # an ordered one ends with these thresholds


def test_rounds_grow_what_their_settings_say():
    shown = [build_selector(ClassBalanced(portion_max=0.3), number).shown_parameters for number in (1, 2, 3, 4)]
    assert shown == [{"portion": 0.2}, {"portion": 0.25}, {"portion": 0.3}, {"portion": 0.3}]
    third = build_selector(InstanceAdaptive(alpha=0.2, alpha_step=0.05, gamma=0.0), 3)
    assert third.parameters == {"alpha": 0.2 + 2 * 0.05, "beta": 0.9, "gamma": 0.0, "initial": 0.9, "batch_size": 2}
    lrent = build_selector(LabelEntropy(alpha=0.5, stride=2), 1)
    assert (lrent.alpha, lrent.stride, lrent.describe()) == (0.5, 2, "lrent, portion 0.20")
    prior = np.ones((2, 2, 3), np.float32)
    assert build_selector(ClassBalanced(), 1, prior).prior is prior


def test_a_choice_takes_over_what_it_is_not_told():
    known = ClassBalancedSelector(portion=0.4, stride=2)
    assert choice_called("cbst").build(None, like=known, portion=0.3).parameters == {
        "portion": 0.3, "stride": 2, "compat": None,
    }  # fmt: skip
    assert choice_called("st").build(None, like=known, portion=0.3).stride == 4


def test_prior_and_choice_must_fit():
    with pytest.raises(UserError, match="none was given"):
        choice_called("cbst_sp").build(None)
    with pytest.raises(UserError, match=r"uses no spatial prior .* choose one of st_sp, cbst_sp"):
        choice_called("lrent").build(np.ones((2, 2, 2), np.float32))
    with pytest.raises(UserError, match="no selector 'csbt'"):
        choice_called("csbt")


BENT = [
    {"kind": "ias"},
    {"portion": 0},
    {"portion": "0.2"},
    {"stride": 1.5},
    {"compat": "torch"},
    {"thresholds": [0.5, 0.5, 0.5]},
    {"thresholds": [0.5, 0.5, 0.5, -1]},
    {"thresholds": [0.5, 0.5, 0.5, True]},
    {"thresholds": []},
    {"pixels": [1, 2, 3, -4]},
    {"pixels": [1, 2, 3, 4.0]},
    {"ranked_pixels": [1]},
    {"images": "5"},
    {"prior": {"shape": [3, 2, 2], "scale": [1, 1, 1], "deflated": ""}},
]


@pytest.mark.parametrize("change", BENT, ids=str)
def test_bent_json_is_refused(change):
    content = ClassBalancedSelector().fit(lambda: MAPS).to_json()
    with pytest.raises((ValueError, TypeError, UserError)):
        from_json({**content, **change})
    with pytest.raises(KeyError):
        from_json({name: value for name, value in content.items() if name != "portion"})


def test_unreachable_thresholds_are_null_and_come_back_infinite():
    prior = np.ones((20, 24, 4), np.float32)
    maps = MAPS.copy()
    maps[..., 3] = 0
    fitted = ClassBalancedSelector(prior=prior).fit(lambda: maps)
    assert fitted.to_json()["thresholds"][3] is None
    np.testing.assert_array_equal(from_json(fitted.to_json()).thresholds, fitted.thresholds)


def test_reading_one_needs_neither_the_settings_nor_more_than_numpy():
    heavy = {"training.settings", "pydantic", "rich", "cv2", "tensorflow", "annotated_types", "tyro"}
    content = ClassBalancedSelector().fit(lambda: MAPS).to_json()
    code = (
        "import sys, training.prediction.label_images, training.prediction.label_files\n"
        f"from training.pseudo_labels import from_json\nfrom_json({content!r})\n"
        f"print({heavy!r} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
