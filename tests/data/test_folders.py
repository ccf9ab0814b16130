"""`folder:PATH`: classes, the cache, images that cannot be read."""

import hashlib
import os
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.data import folders
from benchmarks.data.datasets import load
from benchmarks.data.splits import DataError
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
    monkeypatch.setattr(folders, "_decode", lambda path: pytest.fail("decoded again"))
    second = load(f"folder:{root}", tmp_path)
    assert first.fingerprint == second.fingerprint and capsys.readouterr().err == ""
    for a, b in zip(
        (first.train, first.validation, first.read_test()),
        (second.train, second.validation, second.read_test()),
        strict=True,
    ):
        assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
    assert (first.name, first.num_classes, first.flip) == ("pets", 2, True)
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


def test_svhn_in_a_folder_is_not_flipped(tmp_path):
    assert not load(f"folder:{_folder(tmp_path / 'svhn-png')}", tmp_path).flip


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
