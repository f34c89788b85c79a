import dataclasses
import math

import drawn
import numpy as np
import pytest
import torch
from torch.nn import functional

from m5utils import caption_transfer


def slowly(image, train, k, sharpness):
    """The weighted mean of the mean captions of the nearest images, one by one."""
    found = []
    for row in set(train.image_of.tolist()):
        cosine = float(functional.cosine_similarity(image, train.images[row], dim=0))
        own = train.captions[torch.from_numpy(train.image_of == row)]
        found.append((cosine, own.mean(dim=0)))
    nearest = sorted(found, key=lambda each: -each[0])[:k]
    weights = [math.exp(sharpness * cosine) for cosine, _ in nearest]
    return sum(weight * mean for weight, (_, mean) in zip(weights, nearest, strict=True)) / sum(weights)


@pytest.mark.parametrize(("k", "sharpness"), [(1, 5.0), (3, 0.0), (4, 8.0)])
def test_it_agrees_with_a_loop_over_images(k, sharpness):
    train = drawn.vectors(6, 3)
    some = np.flatnonzero(train.image_of != 2)[1:]  # image 2 has no caption, image 0 has two
    train = dataclasses.replace(train, captions=train.captions[some], image_of=train.image_of[some])
    images = drawn.vectors(5, seed=4).images
    found = caption_transfer.described(images, train, k, sharpness)
    expected = torch.stack([slowly(image, train, k, sharpness) for image in images])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_other_pairs_are_found():
    assert drawn.recall_sum(caption_transfer.transfer(k=5)) > 2 * drawn.CHANCE


def test_what_cannot_be_transferred_is_said():
    task = drawn.task()
    with pytest.raises(ValueError, match="expected 1 <= k <= 40, the images with a caption; got 41"):
        caption_transfer.transfer(k=41)(task, 0)
    with pytest.raises(ValueError, match="captions as vectors; these are numbers of words"):
        caption_transfer.transfer(k=1)(drawn.task(drawn.words), 0)
