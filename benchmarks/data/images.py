"""One image file as 32 x 32 pixels of red, green and blue.

- The orientation that EXIF states is obeyed.
- Transparent pixels are composed on black.
- 16-bit values are divided by 257. Floats keep their range: see `to_bytes`.
- A file with several frames is refused, and so is what Pillow would decode to other values.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.data.splits import IMAGE_SIZE, DataError, one_line

VERSION = 3
"""Of these rules: images that were decoded by others are decoded again."""
FLOAT_RANGES = (1.0, 255.0, 65535.0)
LEAST_SHARE = 0.1
"""Of its range that the largest float must reach, so that 1.02 is not taken for 1.02 of 255."""
TIFF_BITS, TIFF_PHOTOMETRIC = 258, 262

logging.getLogger("PIL").addHandler(logging.NullHandler())  # without one its notes go to stderr


def decode(path: Path) -> np.ndarray:
    """H x W x 3: uint8, or uint16 or float32 as the file has it.

    Raises:
        DataError: if it is no image, has several frames or another size.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            frames = getattr(image, "n_frames", 1)
            size = image.size
            if size == (IMAGE_SIZE, IMAGE_SIZE) and frames == 1:
                _refuse_wrong_values(image)
                return _pixels(ImageOps.exif_transpose(image))
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise DataError(f"cannot read image {str(path)!r}: {one_line(error)}") from error
    if size != (IMAGE_SIZE, IMAGE_SIZE):
        raise DataError(
            f"image {str(path)!r} is {size[0]}x{size[1]} pixels; every image must be "
            f"{IMAGE_SIZE}x{IMAGE_SIZE}"
        )
    raise DataError(f"image {str(path)!r} has {frames} frames; every file must have one")


def _refuse_wrong_values(image) -> None:
    """Raise ValueError where Pillow gives other values than the file means.

    It neither scales 12-bit values of a TIFF, nor inverts deep ones with white as 0, nor finds a
    transparent colour among values that it scales.
    """
    tags = getattr(image, "tag_v2", {})
    if image.mode[0] in "IF" and tags.get(TIFF_BITS, (16,))[0] not in (16, 32):
        raise ValueError(f"{tags[TIFF_BITS][0]} bits a value; save it with 8 or 16")
    if image.mode[0] in "IF" and tags.get(TIFF_PHOTOMETRIC) == 0:
        raise ValueError("white is 0 in it; save it with black as 0")
    if image.format == "PNG" and "transparency" in image.info and image.mode not in ("1", "P"):
        stored = image.tile[0].args
        if stored != image.mode:
            raise ValueError(f"a transparent colour of {stored} values; save it with 8 bits")


def _pixels(image) -> np.ndarray:
    """The pixels of an open image, by its mode."""
    if image.mode.startswith("I"):
        return _grey(_of_16_bits(np.asarray(image)))
    if image.mode == "F":
        return _grey(np.asarray(image, dtype=np.float32))
    if image.has_transparency_data:
        return _on_black(image)
    return np.asarray(image.convert("RGB"))


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=-1)


def _of_16_bits(values: np.ndarray) -> np.ndarray:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ValueError(f"values from {low} to {high} are not of 16 bits, 0 to 65535")
    return values.astype(np.uint16)


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
        DataError: naming an image with floats that fit none of these, or if all 16-bit images have
            values of 8 bits.
    """
    divisors = {
        np.dtype(np.uint16): _divisor_of_16_bits(images, names),
        np.dtype(np.float32): _divisor_of_floats(images, names),
    }
    pixels = np.empty((len(images), *images[0].shape), np.uint8)
    for index, image in enumerate(images):
        divisor = divisors.get(image.dtype)
        pixels[index] = image if divisor is None else np.round(image / divisor)
    return pixels


def _divisor_of_16_bits(images: Sequence[np.ndarray], names: Sequence[str]) -> float:
    top, name = _largest(images, names, np.uint16)
    if 0 < top <= 255:
        raise DataError(
            f"no 16-bit image has a value above {top:g} of 65535 (in {name!r}): the values are of "
            "8 bits; save them so"
        )
    return 65535 / 255


def _divisor_of_floats(images: Sequence[np.ndarray], names: Sequence[str]) -> float:
    for image, name in zip(images, names, strict=True):
        if image.dtype == np.float32:
            low, high = float(image.min()), float(image.max())
            if not (low >= 0 and high <= FLOAT_RANGES[-1]):  # also where they are not numbers
                raise DataError(
                    f"image {name!r} has values from {low:g} to {high:g}; floats must be in 0 to "
                    "1, 0 to 255 or 0 to 65535"
                )
    top, name = _largest(images, names, np.float32)
    limit = next(limit for limit in FLOAT_RANGES if top <= limit)
    if 1 < top < LEAST_SHARE * limit:
        raise DataError(
            f"the largest float is {top:g}, in image {name!r}: too large for the range 0 to 1, "
            f"too small for 0 to {limit:g}"
        )
    return limit / 255


def _largest(images: Sequence[np.ndarray], names: Sequence[str], dtype: type) -> tuple[float, str]:
    """The largest value in the images of a type, and the name of its image; 0 without any."""
    tops = [float(image.max()) if image.dtype == dtype else 0.0 for image in images]
    index = int(np.argmax(tops))
    return tops[index], names[index]
