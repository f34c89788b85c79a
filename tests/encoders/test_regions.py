"""Boxes out of a picture's maps: the numbers of the place, of the whole picture, and of nothing at all."""

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align

from m5utils.encoders import image, regions

SIZES = np.array([[200, 100], [50, 100]])


class Maps:
    """As `DetectorMaps`, of networks that say where they are: a channel each for across, down, and noise."""

    shapes = ((3, 16, 16), (3, 8, 8))
    dim = 3 * (256 + 64)

    def unflattened(self, values):
        parts = values.float().split([torch.Size(shape).numel() for shape in self.shapes], dim=1)
        return tuple(part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True))


def rows(n: int = 2) -> torch.Tensor:
    found = []
    for _, side, _ in Maps.shapes:
        middle = (torch.arange(side) + 0.5) / side  # of each place, parts of the square
        across, down = middle.expand(side, side), middle[:, None].expand(side, side)
        found.append(torch.stack([across, down, torch.rand(side, side)]).flatten())
    return torch.cat(found).expand(n, -1)


def test_a_box_s_vector_is_of_its_place():
    # Where maps are linear, the mean over a box is the value at its middle.
    boxes = [np.array([[80, 40, 40, 30], [100, 30, 60, 60]]), np.array([[10, 20, 20, 40]])]
    found = list(regions.pooled(Maps(), rows(), SIZES, boxes))
    assert [len(one) for one in found] == [2, 1]
    for of_one, size, of_picture in zip(found, SIZES, boxes, strict=True):
        middles = (of_picture[:, :2] + of_picture[:, 2:] / 2) / max(size)
        means = of_one[:, :2]  # the upper map's, scaled with the third channel: their ratio stays
        np.testing.assert_allclose(means[:, 0] / means[:, 1], middles[:, 0] / middles[:, 1], rtol=0.02)


def test_pooling_is_torchvision_s_and_the_encoder_s():
    values, box = rows(1), np.array([[20.0, 30.0, 60.0, 40.0]])
    (found,) = regions.pooled(Maps(), values, SIZES[:1], [box])
    corners = torch.tensor([[20.0, 30.0, 80.0, 70.0]]) / 200
    lower, upper = (
        roi_align(level, [corners], 3, spatial_scale=level.shape[-1], sampling_ratio=2, aligned=True)
        for level in Maps().unflattened(values)
    )
    assert found.shape == (1, 12)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, image.pooled(lower, upper))


def test_pictures_do_not_mix():
    values = torch.cat([rows(1), rows(1)])
    boxes = [np.array([[10, 10, 90, 40]]), np.array([[0, 0, 50, 100]])]
    _, second = regions.pooled(Maps(), values, SIZES, boxes)
    (alone,) = regions.pooled(Maps(), values[1:], SIZES[1:], boxes[1:])
    assert torch.equal(second, alone)


@pytest.mark.parametrize("boxes", [[np.ones((1, 4))], [np.ones((1, 4)), np.zeros((0, 4))]])
def test_a_size_and_boxes_for_every_picture(boxes):
    with pytest.raises(ValueError, match=f"each of 2 pictures; got 2 sizes and .*{len(boxes[-1])}] boxes"):
        list(regions.pooled(Maps(), rows(), SIZES, boxes))
