"""How many images are predicted at once follows from their size."""

import pytest

from training.prediction.predictor import images_at_once


@pytest.mark.parametrize("size", [(128, 256), (176, 240), (240, 320), (256, 512), (360, 480)])
def test_small_images_are_predicted_eight_at_once(size):
    assert (images_at_once(size), images_at_once(size, 16)) == (8, 16)


@pytest.mark.parametrize(("size", "images"), [((512, 1024), 4), ((1024, 2048), 1), ((4096, 8192), 1)])
def test_fewer_large_images_are_predicted_at_once(size, images):
    assert images_at_once(size) == images
