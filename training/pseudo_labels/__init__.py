"""Pseudo-labels: which pixels of the unlabelled target may teach, and what. NumPy only, and pure except for *_files.

| module              | what it answers                                                                               |
|---------------------|-----------------------------------------------------------------------------------------------|
| portion             | how large a portion of the pixels may teach in this round                                     |
| source_subset       | which labelled source images join in                                                          |
| spatial_prior       | where in the picture each class lives, from source labels                                     |
| image_selection     | which target images are worth learning from                                                   |
| thresholds          | the confidence from which a class is kept, over all images; exact, bounded memory             |
| selectors           | the pseudo-label of one image, given the thresholds; the names and meanings of the selectors  |
| instance_adaptive   | thresholds that follow the images, batch after batch, and label each batch at once            |
| donors              | which images lend their hard classes to another (copy-paste)                                  |
| mining              | which classes are rare enough to crop around                                                  |
| label_files         | PNGs and manifest on disk                                                                     |
| probability_files   | probabilities of other people's models, from disk                                             |
| enlarging           | a map of all classes read from the coarse grid, never made at full size                       |
| scores, maxima, sampling, measuring, order_statistics | the machinery of thresholds                                 |

A round calls `portion_at`, then `thresholds_from_batches` once over all target images, then `select` (or
`lrent_select`) for each image. Two images of 2 x 2 pixels and two classes, half of each class' pixels:

>>> import numpy as np
>>> from training.pseudo_labels import portion_at, select, thresholds_from_batches
>>> of_class_0 = np.float32([[[0.9, 0.8], [0.7, 0.4]], [[0.6, 0.55], [0.35, 0.95]]])
>>> probs = np.stack([of_class_0, 1 - of_class_0], axis=-1)
>>> portion_at(round=2, start=0.2, step=0.05, maximum=0.5)
0.30000000000000004
>>> thresholds = thresholds_from_batches(lambda: [probs], "cbst", portion=0.5, stride=1)
>>> thresholds.counts.tolist()
[6, 2]
>>> thresholds.values.tolist()  # the third of six confidences, the first of two
[0.800000011920929, 0.6499999761581421]
>>> select(probs[0], thresholds).tolist()
[[0, 0], [255, 255]]
>>> select(probs[1], thresholds).tolist()
[[255, 255], [1, 0]]

The selector `ias` needs no look at all images first: it labels them as they come, two at a time.

>>> selector = InstanceAdaptiveSelector(classes=2, alpha=0.5)
>>> selector.label_batch(probs).tolist()
[[[0, 255], [255, 255]], [[255, 255], [255, 0]]]

The regulariser MRKLD needs no selector of its own: it is cbst here, and a term of the loss in training.
"""

from training.pseudo_labels.instance_adaptive import InstanceAdaptiveSelector, in_batches
from training.pseudo_labels.portion import portion_at
from training.pseudo_labels.selectors import ORDERED_SELECTORS, PRIOR_SELECTORS, SELECTORS, lrent_select, select
from training.pseudo_labels.spatial_prior import resize_prior, spatial_prior
from training.pseudo_labels.thresholds import Thresholds, thresholds_from_batches

__all__ = [
    "ORDERED_SELECTORS",
    "PRIOR_SELECTORS",
    "SELECTORS",
    "InstanceAdaptiveSelector",
    "Thresholds",
    "in_batches",
    "lrent_select",
    "portion_at",
    "resize_prior",
    "select",
    "spatial_prior",
    "thresholds_from_batches",
]
