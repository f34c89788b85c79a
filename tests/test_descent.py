"""The loop that heads share, and where a batch's rows are gathered."""

import torch
from reference import gaussian

from m5utils.descent import gathered


def test_rows_are_gathered_at_one_place_that_grows():
    rows = gaussian(20, 3)
    gather = gathered(rows)
    few, many = torch.tensor([5, 0, 5]), torch.arange(19, 2, -1)
    assert torch.equal(gather(few), rows[few])
    assert torch.equal(gather(many), rows[many])
    first = gather(many)
    assert gather(few).data_ptr() == first.data_ptr()
    assert torch.equal(first[:3], rows[few])  # what was gathered before is gone, as it says


def test_numbers_are_gathered_too():
    numbers = torch.arange(12).reshape(6, 2)
    assert torch.equal(gathered(numbers)(torch.tensor([4, 1])), numbers[[4, 1]])
