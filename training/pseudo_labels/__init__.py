"""Pseudo-labels: which pixels of the unlabelled target are trained on, and with which class. Labelling rules, in NumPy.

| module            | what it holds                                                                                   |
|-------------------|-------------------------------------------------------------------------------------------------|
| selector          | what a selector is: `fit`, `label`, `to_json`                                                   |
| registry          | selectors by kind: from JSON, from settings, as choices of a command line                       |
| global_threshold  | ST: one confidence threshold for all classes                                                    |
| class_balanced    | CBST: one threshold per class                                                                   |
| label_entropy     | LRENT of CRST: CBST's thresholds, hard and soft labels                                          |
| instance_adaptive | IAS of IAST and HIAST: thresholds follow the images, batch after batch, and label each batch    |
| thresholds        | what the first three share: exact thresholds over all images, in bounded memory                 |
| entropy_mixture   | UPLR: per class the certain one of two modes of entropy, no threshold to choose                 |
| two_gaussians     | its mixture: expectation maximisation on a histogram, and where it decides                      |
| portion           | how large a portion of the pixels is kept in each round                                         |
| spatial_prior     | how often each class occurs at each place, from source labels                                   |

A selector is fitted to the maps of all images, then labels each. Two images of 2 x 2 pixels and two classes, half of
the pixels of each class:

>>> import numpy as np
>>> from training.pseudo_labels import ClassBalancedSelector, InstanceAdaptiveSelector, from_json, portion_at
>>> of_class_0 = np.float32([[[0.9, 0.8], [0.7, 0.4]], [[0.6, 0.55], [0.35, 0.95]]])
>>> probs = np.stack([of_class_0, 1 - of_class_0], axis=-1)
>>> portion_at(round=2, start=0.2, step=0.05, maximum=0.5)
0.30000000000000004
>>> fitted = ClassBalancedSelector(portion=0.5, stride=1).fit(lambda: probs)
>>> fitted.pixels.tolist()
[6, 2]
>>> fitted.thresholds.tolist()  # the third of six confidences, the first of two
[0.800000011920929, 0.6499999761581421]
>>> fitted.label(probs[0]).tolist()
[[0, 0], [255, 255]]
>>> from_json(fitted.to_json()).label(probs[1]).tolist()
[[255, 255], [1, 0]]

IAS labels the images as they come, two at a time, and each batch first moves the thresholds. `label_all` serves every
selector: it gives each map with the function that labels it.

>>> labelling = InstanceAdaptiveSelector(alpha=0.5).label_all(lambda: probs)
>>> [label_of(single).tolist() for single, label_of in labelling]
[[[0, 255], [255, 255]], [[255, 255], [255, 0]]]
>>> labelling.fitted.thresholds.round(3).tolist()
[0.9, 0.889]

The regulariser MRKLD needs no selector of its own: it is CBST here, and a term of the loss in training.
"""

from training.pseudo_labels.class_balanced import ClassBalancedSelector
from training.pseudo_labels.entropy_mixture import EntropyMixtureSelector
from training.pseudo_labels.global_threshold import GlobalThresholdSelector
from training.pseudo_labels.instance_adaptive import InstanceAdaptiveSelector
from training.pseudo_labels.label_entropy import LabelEntropySelector
from training.pseudo_labels.portion import portion_at
from training.pseudo_labels.registry import build_selector, from_json, selector_class
from training.pseudo_labels.selector import Fitted, Maps, Probs, Selector
from training.pseudo_labels.spatial_prior import resize_prior, spatial_prior

__all__ = [
    "ClassBalancedSelector",
    "EntropyMixtureSelector",
    "Fitted",
    "GlobalThresholdSelector",
    "InstanceAdaptiveSelector",
    "LabelEntropySelector",
    "Maps",
    "Probs",
    "Selector",
    "build_selector",
    "from_json",
    "portion_at",
    "resize_prior",
    "selector_class",
    "spatial_prior",
]
