"""One image file as 32 x 32 pixels of red, green and blue.

- The orientation that EXIF states is obeyed.
- Transparent pixels are composed on black.
- 16-bit values are divided by 257. Floats keep their range: see `to_bytes`.
- A file with several frames is refused.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.data.splits import IMAGE_SIZE, DataError, one_line

VERSION = 2
"""Of these rules: images that were decoded by others are decoded again."""
FLOAT_RANGES = (1.0, 255.0, 65535.0)


def decode(path: Path) -> np.ndarray:
    """H x W x 3: uint8, or float32 as the file has it.

    Raises:
        DataError: if it is no image, has several frames or another size.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            frames = getattr(image, "n_frames", 1)
            size = image.size
            if size == (IMAGE_SIZE, IMAGE_SIZE) and frames == 1:
                return _pixels(ImageOps.exif_transpose(image))
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:  # Pillow's ways to say: no image
        raise DataError(f"cannot read image {str(path)!r}: {one_line(error)}") from error
    if size != (IMAGE_SIZE, IMAGE_SIZE):
        raise DataError(
            f"image {str(path)!r} is {size[0]}x{size[1]} pixels; every image must be "
            f"{IMAGE_SIZE}x{IMAGE_SIZE}"
        )
    raise DataError(f"image {str(path)!r} has {frames} frames; every file must have one")


def _pixels(image) -> np.ndarray:
    """The pixels of an open image, by its mode."""
    if image.mode.startswith("I"):
        return _grey(_of_16_bits(np.asarray(image)))
    if image.mode == "F":
        return _grey(np.asarray(image, dtype=np.float32))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _on_black(image)
    return np.asarray(image.convert("RGB"))


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=-1)


def _of_16_bits(values: np.ndarray) -> np.ndarray:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ValueError(f"values from {low} to {high} are not of 16 bits, 0 to 65535")
    return np.round(values / 257).astype(np.uint8)


def _on_black(image) -> np.ndarray:
    from PIL import Image

    mode = {"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)
    layer = image.convert(mode).convert("RGBA")
    black = Image.new("RGBA", layer.size, (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(black, layer).convert("RGB"))


def to_bytes(images: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """All images of a data set as uint8, N x H x W x 3.

    Floats of a data set have one range, 0 to 1, to 255 or to 65535: the first that holds them all.
    It becomes 0 to 255.

    Raises:
        DataError: for a float that is none of these, with the image's name.
    """
    floats = [index for index, image in enumerate(images) if image.dtype != np.uint8]
    top = 0.0
    for index in floats:
        low, high = float(images[index].min()), float(images[index].max())
        if not (low >= 0 and high <= FLOAT_RANGES[-1]):  # also where they are not numbers
            raise DataError(
                f"image {names[index]!r} has values from {low:g} to {high:g}; floats must be in 0 "
                "to 1, 0 to 255 or 0 to 65535"
            )
        top = max(top, high)
    scale = 255 / next(limit for limit in FLOAT_RANGES if top <= limit)
    scaled = {index: np.round(images[index] * scale).astype(np.uint8) for index in floats}
    return np.stack([scaled.get(index, image) for index, image in enumerate(images)])
