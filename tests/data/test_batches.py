"""Batches: augmentation against a plain loop, evaluation in order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.data.batches import Batches, epoch_seed, evaluation_batches
from benchmarks.data.splits import DataError, Split


def _split(count, size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(1, 256, (count, size, size, 3), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(count))  # labels tell the images apart


def _reference(split, batches, seed, epoch):
    """Pad, crop and mirror image by image, with parameters read off the drawn rows and columns."""
    order, rows, columns = batches.draw(seed, epoch)
    p, size = batches.crop_padding, split.images.shape[1]
    for place in range(batches.steps_per_epoch * batches.batch_size):
        image = np.pad(split.images[order[place]].numpy(), ((p, p), (p, p), (0, 0)))
        top, left = int(rows[place].min()), int(columns[place].min())
        crop = image[top : top + size, left : left + size]
        yield crop[:, ::-1] if columns[place][0] > columns[place][-1] else crop


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(0, 5),
    st.booleans(),
    st.integers(0, 2**40),
    st.integers(0, 300),
    st.data(),
)
def test_batches_equal_a_loop_over_images(count, padding, flip, seed, epoch, data):
    split = _split(count)
    batches = Batches(split, data.draw(st.integers(1, count)), padding, flip)
    drawn = list(batches.epoch(seed, epoch))
    assert len(drawn) == batches.steps_per_epoch == count // batches.batch_size
    x = torch.cat([x for x, _ in drawn]).permute(0, 2, 3, 1).numpy()
    y = torch.cat([y for _, y in drawn])
    assert np.array_equal(x, np.stack(list(_reference(split, batches, seed, epoch))))
    order, rows, columns = batches.draw(seed, epoch)
    assert sorted(order.tolist()) == list(range(count)) and torch.equal(y, order[: len(y)])
    assert all(drawn.min() >= 0 and drawn.max() < 6 + 2 * padding for drawn in (rows, columns))
    assert (rows.diff() == 1).all() and (columns.diff().abs() == 1).all()
    if not flip:
        assert (columns.diff() == 1).all()


def test_crops_and_flips_are_uniform_and_independent():
    _, rows, columns = Batches(_split(20000, size=2), 20000, 2, True).draw(0, 0)
    mirrored = (columns[:, 0] > columns[:, 1]).long()
    shares = torch.bincount(rows[:, 0] * 10 + columns.amin(1) * 2 + mirrored, minlength=50) / 20000
    assert len(shares) == 5 * 5 * 2 and (shares - 0.02).abs().max() < 0.005  # five standard errors


def test_an_epoch_is_fixed_by_seed_and_epoch():
    batches = Batches(_split(50), 16, 4, True)
    epochs = {
        key: torch.cat([x for x, _ in batches.epoch(*key)])
        for key in [(0, 0), (0, 1), (1, 0), (1, 1)]
    }
    again = Batches(_split(50), 16, 4, True)
    for key, images in epochs.items():
        assert torch.equal(torch.cat([x for x, _ in again.epoch(*key)]), images)
        assert sum(torch.equal(images, other) for other in epochs.values()) == 1


@given(st.integers(0, 2**63), st.integers(0, 10**6))
def test_epoch_seed_has_63_bits(seed, epoch):
    assert 0 <= epoch_seed(seed, epoch) < 2**63


def test_batches_are_channels_last_and_do_not_touch_the_global_generator():
    state = torch.get_rng_state()
    x, y = next(Batches(_split(8), 4, 1, True).epoch(0, 0))
    assert x.shape == (4, 3, 6, 6) and x.dtype == torch.uint8 and y.dtype == torch.int64
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("size", "padding"), [(0, 0), (9, 0), (4, -1)])
def test_bad_batches_are_refused(size, padding):
    with pytest.raises(DataError, match="not allowed"):
        Batches(_split(8), size, padding, False)


@given(st.integers(1, 20), st.integers(1, 25))
@settings(deadline=None)
def test_evaluation_sees_every_image_once_in_full_batches(count, batch_size):
    split = _split(count)
    batches = list(evaluation_batches(split, batch_size))
    assert all(x.shape == (batch_size, 3, 6, 6) and len(y) == batch_size for x, y, _ in batches)
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x, _, _ in batches)
    assert torch.equal(torch.cat([x[:n] for x, _, n in batches]).permute(0, 2, 3, 1), split.images)
    assert torch.equal(torch.cat([y[:n] for _, y, n in batches]), split.labels)
    assert all(torch.equal(x.permute(0, 2, 3, 1), split.images[y]) for x, y, _ in batches)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_on_cuda_equal_the_loop():
    split = _split(64)
    batches = Batches(split.to("cuda"), 16, 2, True)
    x = torch.cat([x for x, _ in batches.epoch(3, 5)]).permute(0, 2, 3, 1).cpu().numpy()
    assert np.array_equal(x, np.stack(list(_reference(split, batches, 3, 5))))
