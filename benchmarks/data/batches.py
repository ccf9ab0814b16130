"""Batches of a split: augmented on the device for training, in order and full for evaluation.

    batches = Batches(data.train, batch_size=128, crop_padding=4, flip=data.flip)
    for x, y in batches.epoch(seed=0, epoch=0): ...

Images leave as uint8; they are normalised with the data set's mean and deviation inside the
compiled step.
"""

import hashlib
from collections.abc import Iterator

import torch

from benchmarks.data.splits import IMAGE_SIZE, DataError, Split


def epoch_seed(seed: int, *numbers: int) -> int:
    """63 bits from (seed, epoch) or more: neighbouring seeds and epochs share no random stream."""
    text = ":".join(str(number) for number in (seed, *numbers))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class Batches:
    """Shuffled, randomly cropped and flipped batches of a split, made on its device without a wait
    for the host.

    A crop is a window of the image's own size in the image padded by `crop_padding` black pixels
    on each side. The last partial batch is dropped: `steps_per_epoch = N // batch_size`. Raises
    DataError if that is 0 or the padding < 0.
    """

    def __init__(self, split: Split, batch_size: int, crop_padding: int, flip: bool) -> None:
        if not 1 <= batch_size <= len(split):
            raise DataError(
                f"batch size {batch_size} is not allowed; allowed are 1 to {len(split)} (all "
                "images)"
            )
        if crop_padding < 0:
            raise DataError(
                f"crop padding {crop_padding} is not allowed; allowed are 0 pixels and more"
            )
        self.batch_size, self.crop_padding, self.flip = batch_size, crop_padding, flip
        self.steps_per_epoch = len(split) // batch_size
        self.labels = split.labels
        self.padded = torch.nn.functional.pad(split.images, (0, 0) + (crop_padding,) * 4)
        self.height, self.width = split.images.shape[1:3]

    def epoch(self, seed: int, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield x (uint8, B x 3 x H x W, channels_last) and y (int64, B), fixed by (seed, epoch)
        and kind of device.
        """
        order, rows, columns = self.draw(seed, epoch)
        for start in range(0, self.steps_per_epoch * self.batch_size, self.batch_size):
            batch = slice(start, start + self.batch_size)
            index = order[batch]
            x = self.padded[
                index[:, None, None], rows[batch][:, :, None], columns[batch][:, None, :]
            ]
            yield x.permute(0, 3, 1, 2), self.labels[index]

    def draw(self, seed: int, epoch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The epoch's order (N), and per place in it the rows (N x H) and columns (N x W) of the
        padded image.
        """
        device, count = self.labels.device, len(self.labels)
        generator = torch.Generator(device).manual_seed(epoch_seed(seed, epoch))
        order = torch.randperm(count, generator=generator, device=device)
        corner = torch.randint(
            2 * self.crop_padding + 1, (2, count, 1), generator=generator, device=device
        )
        across = torch.arange(self.width, device=device).expand(count, -1)
        if self.flip:
            mirrored = torch.randint(2, (count, 1), generator=generator, device=device).bool()
            across = torch.where(mirrored, across.flip(1), across)
        return order, corner[0] + torch.arange(self.height, device=device), corner[1] + across


def equal_images(batch: int) -> torch.Tensor:
    """The same image as floats (batch, 3, 32, 32), the same at every call: for counting."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)
    return image.repeat(batch, 1, 1, 1)


def evaluation_batches(
    split: Split, batch_size: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
    """Yield x (uint8, B x 3 x H x W, channels_last), y (int64, B) and `count`, in order, without
    augmentation.

    Every batch is full, so that a compiled model sees one shape: the last repeats images; its
    first `count` are real.
    """
    if batch_size < 1:
        raise DataError(f"batch size {batch_size} is not allowed; allowed are 1 and more")
    for start in range(0, len(split), batch_size):
        index = torch.arange(start, start + batch_size, device=split.labels.device) % len(split)
        yield (
            split.images[index].permute(0, 3, 1, 2),
            split.labels[index],
            min(batch_size, len(split) - start),
        )
