"""Hidden blocks (MIC): their size, how many, and that the rows of a batch are independent."""

import numpy as np
import pytest
import tensorflow as tf

from training.data.augment import MEAN_COLOR
from training.methods.block_mask import BlockMasker
from training.settings.losses import Masked


def hidden(masker: BlockMasker, positions, height: int = 32, width: int = 64) -> np.ndarray:
    """Which pixels of white images are hidden: bool [images, height, width]."""
    image = tf.fill((len(positions), height, width, 3), 255.0)
    shown = masker.hidden(image, tf.constant(positions, tf.int64)).numpy()
    is_hidden = (shown != 255).all(axis=3)
    np.testing.assert_allclose(shown[is_hidden], np.broadcast_to(MEAN_COLOR, shown[is_hidden].shape))
    assert (shown[~is_hidden] == 255).all()
    return is_hidden


def test_whole_blocks_of_the_stated_size_are_hidden():
    mask = hidden(BlockMasker(Masked(block=1 / 8, ratio=0.5), 0), [0, 1])
    blocks = mask.reshape(2, 4, 8, 8, 8)
    assert (blocks.all(axis=(2, 4)) == blocks.any(axis=(2, 4))).all()
    assert 0 < mask.mean() < 1


def test_the_last_blocks_are_cut_off():
    mask = hidden(BlockMasker(Masked(block=0.3, ratio=0.5), 1), [3], 10, 30)  # blocks of 9: 2 x 4 of them
    assert mask.shape == (1, 10, 30)
    assert (mask[:, :9, :9] == mask[:, :1, :1]).all()
    assert (mask[:, 9:, 27:] == mask[:, 9:10, 27:28]).all()


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.7, 1.0])
def test_the_share_of_hidden_blocks(ratio):
    mask = hidden(BlockMasker(Masked(block=1 / 16, ratio=ratio), 0), list(range(40)))
    assert mask.mean() == pytest.approx(ratio, abs=0.03 if 0 < ratio < 1 else 0.0)


def test_a_block_is_at_least_a_pixel():
    assert 0.4 < hidden(BlockMasker(Masked(block=1e-6, ratio=0.5), 0), [0]).mean() < 0.6


def test_blocks_depend_on_seed_and_position_alone():
    masker = BlockMasker(Masked(), 3)
    together = hidden(masker, [5, 6, 5])
    np.testing.assert_array_equal(together[0], together[2])
    np.testing.assert_array_equal(together[1:2], hidden(masker, [6]))
    assert (together[0] != together[1]).any()
    assert (hidden(BlockMasker(Masked(), 4), [5]) != together[:1]).any()
