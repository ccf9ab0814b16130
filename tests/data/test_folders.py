"""`folder:PATH`: classes, the cache, images that cannot be read."""

import hashlib
import io
import os
import struct
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.data import images
from benchmarks.data.datasets import load
from benchmarks.data.splits import DataError
from benchmarks.runs.options import RunOptions
from tests.conftest import ROOT, Hostile, one_line

JPEG = ROOT / "data" / "cifar10-jpeg"


def _folder(root, train=10, test=3, classes=("cat", "dog"), size=32):
    generator = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for label in classes:
            (root / part / label).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (size, size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / label / f"{index}.png")
    return root


def test_folder_loads_and_the_cache_gives_the_same(tmp_path, monkeypatch, capsys):
    root = _folder(tmp_path / "pets")
    first = load(f"folder:{root}", tmp_path)
    monkeypatch.setattr(images, "decode", lambda path: pytest.fail("decoded again"))
    second = load(f"folder:{root}", tmp_path)
    assert first.fingerprint == second.fingerprint and capsys.readouterr().err == ""
    for a, b in zip(
        (first.train, first.validation, first.read_test()),
        (second.train, second.validation, second.read_test()),
        strict=True,
    ):
        assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
    assert (first.name, first.num_classes, first.flip) == ("pets", 2, True)
    assert first.outputs == ("cat", "dog")
    assert [first.fingerprint[k] for k in ("train", "validation", "test")] == [18, 2, 6]
    test = first.read_test()
    pixels = np.asarray(Image.open(root / "test" / "dog" / "1.png"))
    assert np.array_equal(test.images[4], pixels) and test.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_folder_identity_is_that_of_sha256sum(tmp_path):
    root = _folder(tmp_path / "pets")
    files = sorted(path for path in root.rglob("*.png"))
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    lines = [
        f"{digest}  {path.relative_to(root).as_posix()}\n"
        for digest, path in zip(digests, files, strict=True)
    ]
    before = load(f"folder:{root}", tmp_path).fingerprint
    assert before["sha256"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    files[0].rename(files[0].with_name("renamed.png"))
    assert load(f"folder:{root}", tmp_path).fingerprint["sha256"] != before["sha256"]


@pytest.mark.parametrize("damage", ["truncated", "pixel", "shape", "note", "no note", "pickle"])
def test_corrupt_cache_is_discarded_with_one_line(tmp_path, capsys, damage):
    root = _folder(tmp_path / "pets")
    first = load(f"folder:{root}", tmp_path)
    (place,) = (tmp_path / "cache").glob("pets-*.npy")
    good, images = place.read_bytes(), np.load(place)
    if damage == "truncated":
        place.write_bytes(good[:-1])
    elif damage == "pixel":
        place.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    elif damage == "shape":
        np.save(place, images[:-1])
    elif damage == "note":
        place.with_suffix(".json").write_text("[")
    elif damage == "no note":
        place.with_suffix(".json").unlink()
    else:
        np.save(place, np.array([Hostile(tmp_path / "payload")], dtype=object), allow_pickle=True)
    assert load(f"folder:{root}", tmp_path).fingerprint == first.fingerprint
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "discarded" in lines[0]
    assert place.read_bytes() == good and not (tmp_path / "payload").exists()
    assert len(os.listdir(tmp_path / "cache")) == 2


def test_cache_that_cannot_be_written_is_only_noted(tmp_path, capsys):
    root = _folder(tmp_path / "pets")
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert len(load(f"folder:{root}", tmp_path).train) == 18
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "not written" in lines[0]


@pytest.mark.parametrize("name", ["svhn-png", "digits2", "pets"])
def test_no_decision_hangs_on_a_folders_name(tmp_path, name):
    assert load(f"folder:{_folder(tmp_path / name)}", tmp_path).flip is True


def _one(tmp_path, image, name="0.png", **options):
    """The pixels that an image in a data set becomes."""
    root = _folder(tmp_path / "pets")
    (root / "test" / "cat" / "0.png").unlink()
    image.save(root / "test" / "cat" / name, **options)
    data = load(f"folder:{root}", tmp_path)
    return data.read_test().images[0].numpy()


GREY = np.arange(1024, dtype=np.uint16).reshape(32, 32) * 64  # 0 to 65,472
FULL = np.round(GREY / 257).astype(np.uint8)


@pytest.mark.parametrize("dtype, name", [("<u2", "0.png"), ("<u2", "0.tif"), (">u2", "0.tif")])
def test_16_bit_images_keep_their_range(tmp_path, dtype, name):
    pixels = _one(tmp_path, Image.fromarray(GREY.astype(dtype)), name)
    assert np.array_equal(pixels, np.repeat(FULL[..., None], 3, -1))


def test_whole_numbers_of_32_bits_are_of_16(tmp_path):
    pixels = _one(tmp_path, Image.fromarray(GREY.astype(np.int32)), "0.tif")
    assert np.array_equal(pixels[..., 0], FULL)
    with pytest.raises(DataError, match="values from 0 to 6547200 are not of 16 bits"):
        _one(tmp_path / "b", Image.fromarray(GREY.astype(np.int32) * 100), "0.tif")


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_floats_keep_their_range(tmp_path, top):
    values = np.linspace(0, top, 1024, dtype=np.float32).reshape(32, 32)
    pixels = _one(tmp_path, Image.fromarray(values), "0.tif")
    assert np.abs(pixels[..., 0] - values * 255 / top).max() <= 0.5


def test_floats_of_a_data_set_have_one_range(tmp_path):
    root = _folder(tmp_path / "pets")
    for number, top in ((0, 0.5), (1, 200.0)):
        (root / "test" / "cat" / f"{number}.png").unlink()
        values = np.full((32, 32), top, dtype=np.float32)
        Image.fromarray(values).save(root / "test" / "cat" / f"{number}.tif")
    images = load(f"folder:{root}", tmp_path).read_test().images
    assert [images[0].max().item(), images[1].max().item()] == [0, 200]


@pytest.mark.parametrize("value, told", [(-0.5, "-0.5"), (1e6, "1e\\+06"), (np.nan, "nan")])
def test_floats_out_of_range_are_refused(tmp_path, value, told):
    values = np.full((32, 32), value, dtype=np.float32)
    with pytest.raises(DataError, match=f"values from {told} to"):
        _one(tmp_path, Image.fromarray(values), "0.tif")


@pytest.mark.parametrize("top", [1.02, 20.0, 300.0])
def test_floats_whose_range_is_unclear_are_refused(tmp_path, top):
    values = np.linspace(0, top, 1024, dtype=np.float32).reshape(32, 32)
    with pytest.raises(DataError, match=rf"largest float is {top:g}, in image .*0\.tif") as error:
        _one(tmp_path, Image.fromarray(values), "0.tif")
    one_line(error)


def test_values_of_8_bits_in_16_bit_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no 16-bit image has a value above 200 of 65535"):
        _one(tmp_path, Image.fromarray(np.full((32, 32), 200, np.uint16)))


def test_a_dark_16_bit_image_among_bright_ones_is_dark(tmp_path):
    root = _folder(tmp_path / "pets")
    for number, value in ((0, 200), (1, 65535)):
        pixels = np.full((32, 32), value, np.uint16)
        Image.fromarray(pixels).save(root / "test" / "cat" / f"{number}.png")
    images = load(f"folder:{root}", tmp_path).read_test().images
    assert [images[0].max().item(), images[1].min().item()] == [1, 255]


def _tiff(path, bits, photometric, content):
    """A grey TIFF, which Pillow does not write so."""
    tags = {256: 32, 257: 32, 258: bits, 259: 1, 262: photometric, 273: 122, 277: 1, 278: 32}
    tags[279] = len(content)
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    path.write_bytes(head + b"".join(entries) + b"\0" * 4 + content)


@pytest.mark.parametrize(
    "bits, photometric, told", [(12, 1, "12 bits a value"), (16, 0, "white is 0")]
)
def test_tiffs_that_pillow_decodes_to_other_values_are_refused(tmp_path, bits, photometric, told):
    _tiff(tmp_path / "a.tif", bits, photometric, bytes(1024 * bits // 8))
    with pytest.raises(DataError, match=told):
        images.decode(tmp_path / "a.tif")
    _tiff(tmp_path / "b.tif", 16, 1, GREY.astype("<u2").tobytes())
    assert np.array_equal(images.decode(tmp_path / "b.tif")[..., 0], GREY)


def test_a_transparent_colour_is_black(tmp_path):
    image = Image.new("RGB", (32, 32), (9, 8, 7))
    image.putpixel((1, 0), (9, 8, 6))
    pixels = _one(tmp_path, image, transparency=(9, 8, 7))
    assert pixels[0, 0].tolist() == [0, 0, 0] and pixels[0, 1].tolist() == [9, 8, 6]


def test_a_transparent_colour_of_16_bits_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"0\.png.*transparent colour of I;16B values"):
        _one(tmp_path, Image.fromarray(GREY), transparency=64)


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_premultiplied_colours_are_taken_as_they_are(tmp_path, mode):
    straight = Image.new("RGBA", (32, 32), (200, 100, 50, 128)).convert("RGBa")
    expected = [100, 50, 25]
    if mode == "La":
        straight, expected = Image.new("LA", (32, 32), (200, 128)).convert("La"), [100] * 3
    assert np.abs(images._pixels(straight)[0, 0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "WEBP", "JPEG", "BMP", "AVIF", "SPIDER"])
@pytest.mark.filterwarnings("ignore")
def test_every_damaged_file_is_refused_with_its_name(tmp_path, kind):
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {kind}")
    path, generator = tmp_path / "image", np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.new("F" if kind == "SPIDER" else "L", (32, 32)).save(buffer, kind)
    good, refused = buffer.getvalue(), 0
    for _ in range(100):
        bad = np.frombuffer(good, np.uint8).copy()
        bad[generator.integers(len(bad), size=3)] = generator.integers(256, size=3)
        path.write_bytes(bad[: generator.integers(1, len(bad))].tobytes())
        try:
            images.decode(path)
        except DataError as error:
            refused += str(path) in str(error)
    assert refused


def _transparent(mode):
    """Half transparent white."""
    image = Image.new("RGBA", (32, 32), (255, 255, 255, 128))
    return image if mode == "RGBA" else Image.new("LA", (32, 32), (255, 128))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_composed_on_black(tmp_path, mode):
    assert np.unique(_one(tmp_path, _transparent(mode))).tolist() == [128]


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_transparent_colours_of_a_palette_are_black(tmp_path, transparency, capsys, recwarn):
    image = Image.new("P", (32, 32), 0)
    image.putpalette([200, 100, 50, 255, 255, 255])
    image.putpixel((1, 0), 1)
    pixels = _one(tmp_path, image, transparency=transparency)
    assert pixels[0, 0].tolist() == [0, 0, 0] and pixels[0, 1].tolist() == [255, 255, 255]
    assert capsys.readouterr().err == "" and not recwarn.list


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_other_modes(tmp_path, mode):
    name = "0.tif" if mode in ("CMYK", "YCbCr") else "0.png"
    image = Image.new("RGB", (32, 32), (255, 255, 255)).convert(mode)
    assert _one(tmp_path, image, name).min() >= 253


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_obeyed(tmp_path, orientation):
    upright = np.zeros((32, 32, 3), np.uint8)
    upright[:4, :12] = 255  # a bar at the top left
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose: what the camera did
    image = Image.fromarray(upright)
    if orientation > 1:
        image = image.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(_one(tmp_path, image, exif=exif), upright)


def test_several_frames_are_refused(tmp_path):
    frames = [Image.new("L", (32, 32), value) for value in (0, 99)]
    with pytest.raises(DataError, match=r"0\.gif' has 2 frames; every file must have one"):
        _one(tmp_path, frames[0], "0.gif", save_all=True, append_images=frames[1:])


def test_what_systems_leave_behind_is_skipped(tmp_path):
    root = _folder(tmp_path / "pets")
    before = load(f"folder:{root}", tmp_path).fingerprint
    for name in (
        "Thumbs.db",
        "desktop.ini",
        ".DS_Store",
        "._0.png",
        "ehthumbs.db",
        "Icon\r",
        "Icon\uf00d",
    ):
        (root / "train" / "cat" / name).write_bytes(b"x")
    for name in ("0.png:Zone.Identifier", "THUMBS.DB", "Thumbs.db:encryptable"):
        (root / "train" / "cat" / name).write_bytes(b"x")
    for name in ("@eaDir", "__MACOSX", ".git", "$RECYCLE.BIN"):
        (root / "train" / name).mkdir()
        (root / "train" / "dog" / name).mkdir()
    assert load(f"folder:{root}", tmp_path).fingerprint == before


def test_names_that_differ_in_unicode_form_are_one_class(tmp_path):
    root = _folder(tmp_path / "pets", classes=("caf\u00e9", "dog"))
    (root / "test" / "caf\u00e9").rename(root / "test" / "cafe\u0301")
    data = load(f"folder:{root}", tmp_path)
    assert data.num_classes == 2 and data.read_test().labels.bincount().tolist() == [3, 3]
    (root / "train" / "cafe\u0301").mkdir()
    with pytest.raises(DataError, match=r"classes 'cafe\\u0301' and 'caf\\xe9' .* look the same"):
        load(f"folder:{root}", tmp_path)


def test_a_class_that_only_looks_the_same_is_told(tmp_path):
    root = _folder(tmp_path / "pets", classes=("cat", "dog"))
    (root / "test" / "cat").rename(root / "test" / "c\u0430t")  # a Cyrillic letter
    with pytest.raises(DataError, match=r"class 'cat', which is in train alone"):
        load(f"folder:{root}", tmp_path)
    (root / "train" / "cat").rename(root / "train" / "dots")
    (root / "train" / "dog").rename(root / "train" / "c\u0430t")
    with pytest.raises(DataError, match=r"alone"):
        load(f"folder:{root}", tmp_path)


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    _folder(tmp_path / "pets")
    assert load("folder:~/pets", tmp_path).name == "pets"
    assert RunOptions(data_dir="~/data").data_dir == tmp_path / "data"
    assert len(load("folder:~/pets", "~/data").train) == 18 and (tmp_path / "data/cache").is_dir()
    with pytest.raises(DataError, match="'~nobody-of-this-name/pets/train' is missing"):
        load("folder:~nobody-of-this-name/pets", tmp_path)


def test_pixels_that_other_rules_decoded_are_not_used(tmp_path, monkeypatch):
    root = _folder(tmp_path / "pets")
    load(f"folder:{root}", tmp_path)
    monkeypatch.setattr(images, "VERSION", images.VERSION + 1)
    load(f"folder:{root}", tmp_path)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2


def _remove(path):
    for child in sorted(path.rglob("*"), reverse=True):
        child.rmdir() if child.is_dir() else child.unlink()
    path.rmdir()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_remove, "train.*missing"),
        (lambda root: _remove(root / "test"), "test.*missing"),
        (lambda root: _remove(root / "test" / "dog"), "differ in class 'dog'"),
        (
            lambda root: [_remove(root / part / "dog") for part in ("train", "test")],
            "1 class folders",
        ),
        (
            lambda root: [path.unlink() for path in (root / "train" / "cat").iterdir()],
            "train/cat.*no images",
        ),
        (
            lambda root: (root / "test" / "cat" / "1.png").write_bytes(b"text"),
            r"cannot read image.*test/cat/1\.png",
        ),
        (lambda root: (root / "test" / "cat" / "sub").mkdir(), "cannot read.*test/cat/sub"),
        (
            lambda root: Image.new("RGB", (32, 31)).save(root / "test" / "dog" / "1.png"),
            r"dog/1\.png.*32x31.*32x32",
        ),
        (
            lambda root: (
                [(root / "train" / "cat" / f"{i}.png").unlink() for i in range(9)]
                + [(root / "train" / "dog" / f"{i}.png").unlink() for i in range(9)]
            ),
            "2 training images",
        ),
    ],
)
def test_folder_errors_name_the_cause(tmp_path, harm, words):
    root = _folder(tmp_path / "pets")
    harm(root)
    with pytest.raises(DataError, match=words) as error:
        load(f"folder:{root}", tmp_path)
    one_line(error)


def test_truncated_image_is_named(tmp_path):
    root = _folder(tmp_path / "pets")
    path = root / "train" / "dog" / "7.png"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"train/dog/7\.png"):
        load(f"folder:{root}", tmp_path)


def test_grey_images_get_three_channels(tmp_path):
    root = _folder(tmp_path / "pets")
    Image.new("L", (32, 32), 7).save(root / "test" / "cat" / "0.png")
    assert load(f"folder:{root}", tmp_path).read_test().images[0].unique().tolist() == [7]


@pytest.mark.skipif(not (JPEG / "train").is_dir(), reason="data/cifar10-jpeg is not unpacked")
def test_real_folder():
    start = time.perf_counter()
    data = load(f"folder:{JPEG}", JPEG.parent)
    print(f"loaded in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    assert [data.fingerprint[k] for k in ("train", "validation", "test", "num_classes")] == [
        45000,
        5000,
        10000,
        10,
    ]
    assert np.allclose(data.mean, (0.491, 0.482, 0.447), atol=0.002)
    assert np.allclose(data.std, (0.247, 0.243, 0.262), atol=0.004)
    assert torch.bincount(data.read_test().labels).tolist() == [1000] * 10
