"""The data room: splits, security of the archive, folders and their cache, augmentation against a plain loop."""

import hashlib
import io
import os
import pickle
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks import datasets
from benchmarks.datasets import Batches, DataError, Pins, Split, dataset_name, evaluation_batches, load, load_cifar10

JPEG = Path(__file__).parents[1] / "data" / "cifar10-jpeg"


def _split(count, size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(1, 256, (count, size, size, 3), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(count))  # labels tell the images apart


def _one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


# Names


def test_names():
    specs = ("digits", "cifar10", "folder:/a/my-set_1.0/")
    assert [dataset_name(spec) for spec in specs] == ["digits", "cifar10", "my-set_1.0"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("cifar11", ["'cifar11'", "folder:PATH", "nearest: cifar10"]),
        ("", ["''", "digits"]),
        ("folder:", ["lacks a path"]),
        ("folder:/a/b c", ["'b c'"]),
        ("folder:/", ["''"]),
        ("folder:/a/cifar100", ["'cifar100'", "rename"]),
        ("folder:/a/SVHN", ["'SVHN'"]),
    ],
)
def test_bad_names(spec, words, tmp_path):
    with pytest.raises(DataError) as error:
        load(spec, tmp_path)
    assert all(word in _one_line(error) for word in words)


# Splits, digits, statistics


@pytest.fixture(scope="module")
def digits():
    return load("digits", Path("unused"))


def test_digits_split_is_disjoint_and_complete(digits):
    from sklearn.datasets import load_digits

    parts = (digits.train, digits.validation, digits.read_test())
    assert [len(part) for part in parts] == [1257, 180, 360]
    together = torch.cat([part.images for part in parts]).numpy()
    expected = np.repeat(datasets._enlarge(load_digits().images.astype(np.uint8))[..., None], 3, axis=-1)
    assert sorted(map(bytes, together)) == sorted(map(bytes, expected))
    assert together.dtype == np.uint8 and together.shape[1:] == (32, 32, 3)
    assert digits.train.labels.dtype == torch.int64 and not digits.flip and digits.num_classes == 10


def test_digits_do_not_change(digits):
    again = load("digits", Path("unused"))
    assert again.fingerprint == digits.fingerprint and torch.equal(again.train.images, digits.train.images)
    assert {k: v for k, v in digits.fingerprint.items() if "sha256" not in k} == {
        "split_seed": 0, "train": 1257, "validation": 180, "test": 360, "num_classes": 10,
    }  # fmt: skip
    assert all(len(digits.fingerprint[key]) == 64 for key in ("sha256", "decoded_sha256"))


def test_enlarging_is_bilinear():
    small = np.random.default_rng(0).integers(0, 17, (5, 8, 8), dtype=np.uint8)
    exact = torch.nn.functional.interpolate(torch.from_numpy(small * (255 / 16))[:, None], (32, 32), mode="bilinear")
    assert np.abs(datasets._enlarge(small) - exact[:, 0].numpy()).max() <= 0.5 + 1e-9


def test_mean_and_std_are_those_of_the_train_split(digits):
    pixels = digits.train.images.numpy().reshape(-1, 3).astype(np.float64) / 255
    assert np.allclose(digits.mean, pixels.mean(0), rtol=1e-12)
    assert np.allclose(digits.std, pixels.std(0), rtol=1e-12)


def test_reads_of_the_test_split_are_counted_across_moves(digits):
    data = load("digits", Path("unused"))
    moved = data.to("cpu")
    assert data.test_reads == moved.test_reads == 0
    assert len(moved.read_test()) == 360
    assert data.test_reads == moved.test_reads == 1


# The CIFAR archive


def _batch(count, seed, payload=None):
    generator = np.random.default_rng(seed)
    data = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
    return pickle.dumps({"data": data, "labels": [i % 10 for i in range(count)], **(payload or {})}, protocol=2)


class _Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def _archive(folder, batches, extra=()):
    """An archive in CIFAR's format, and pins that match it."""
    path = folder / datasets.CIFAR10_ARCHIVE
    with tarfile.open(path, "w:gz") as tar:
        for name, content in batches.items():
            member = tarfile.TarInfo(f"{datasets.CIFAR10_FOLDER}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member, content in extra:
            tar.addfile(member, io.BytesIO(content))
    names = [(name, hashlib.md5(content).hexdigest()) for name, content in batches.items()]
    content = path.read_bytes()
    hashes = hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()
    return path, Pins(*hashes, tuple(names[:-1]), tuple(names[-1:]))


def _good_batches():
    return {"data_batch_1": _batch(20, 1), "data_batch_2": _batch(20, 2), "test_batch": _batch(10, 3)}


def test_archive_loads_and_its_folder_gives_the_same(tmp_path):
    path, pins = _archive(tmp_path, _good_batches())
    data = load_cifar10(tmp_path, pins)
    path.unlink()
    assert sorted(os.listdir(tmp_path)) == [datasets.CIFAR10_FOLDER]
    assert load_cifar10(tmp_path, pins).fingerprint == data.fingerprint
    assert (len(data.train), len(data.validation), len(data.read_test()), data.flip) == (36, 4, 10, True)
    original = pickle.loads(_good_batches()["test_batch"])["data"].reshape(-1, 3, 32, 32)
    assert np.array_equal(data.read_test().images.permute(0, 3, 1, 2), original)
    both = torch.cat([data.train.images, data.validation.images]).numpy()
    assert len({bytes(image) for image in both}) == 40


@pytest.mark.parametrize("damage", ["bit", "truncated", "another archive"])
def test_tampered_archive_is_refused_before_anything_is_extracted(tmp_path, damage):
    payload = {"data_batch_1": _batch(20, 1, {"x": _Hostile(tmp_path / "payload")}), "test_batch": _batch(10, 3)}
    path, pins = _archive(tmp_path, payload)
    good = path.read_bytes()
    if damage == "bit":
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    elif damage == "truncated":
        path.write_bytes(good[:-10])
    else:
        pins = datasets.CIFAR10_PINS
    with pytest.raises(DataError, match="sha256") as error:
        load_cifar10(tmp_path, pins)
    _one_line(error)
    assert os.listdir(tmp_path) == [datasets.CIFAR10_ARCHIVE]


def test_tampered_batch_is_refused_before_it_is_unpickled(tmp_path):
    _, pins = _archive(tmp_path, _good_batches())
    load_cifar10(tmp_path, pins)
    batch = tmp_path / datasets.CIFAR10_FOLDER / "data_batch_2"
    batch.write_bytes(_batch(20, 2, {"x": _Hostile(tmp_path / "payload")}))
    with pytest.raises(DataError, match=r"data_batch_2.*md5"):
        load_cifar10(tmp_path, pins)
    assert not (tmp_path / "payload").exists()


def test_hostile_pickle_with_the_right_hash_runs_nothing(tmp_path):
    batches = {"data_batch_1": _batch(20, 1, {"x": _Hostile(tmp_path / "payload")}), "test_batch": _batch(10, 3)}
    _, pins = _archive(tmp_path, batches)
    with pytest.raises(DataError, match=r"mkdir is not allowed"):
        load_cifar10(tmp_path, pins)
    assert not (tmp_path / "payload").exists()
    pickle.loads(batches["data_batch_1"])  # the payload itself works
    assert (tmp_path / "payload").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x02}.", b"no pickle", pickle.dumps({"data": [1], "labels": [1]}, 2)])
def test_batches_of_another_format_are_refused(tmp_path, content):
    _, pins = _archive(tmp_path, {"data_batch_1": content, "test_batch": _batch(10, 3)})
    with pytest.raises(DataError, match="not a CIFAR batch") as error:
        load_cifar10(tmp_path, pins)
    _one_line(error)


def _link(kind, target):
    member = tarfile.TarInfo(f"{datasets.CIFAR10_FOLDER}/link")
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize("kind", ["parent", "symbolic link", "hard link"])
def test_members_that_leave_the_folder_are_refused(tmp_path, kind):
    inside = tmp_path / "data"
    inside.mkdir()
    outside = tmp_path / "outside"
    member = tarfile.TarInfo("../../outside")
    member.size = 3
    members = {"parent": member, "symbolic link": _link(tarfile.SYMTYPE, "../../../outside"),
               "hard link": _link(tarfile.LNKTYPE, "../../outside")}  # fmt: skip
    path, pins = _archive(inside, _good_batches(), [(members[kind], b"abc")])
    with pytest.raises(DataError, match="cannot extract") as error:
        load_cifar10(inside, pins)
    _one_line(error)
    assert not outside.exists() and os.listdir(tmp_path) == ["data"] and os.listdir(inside) == [path.name]


def test_missing_archive_says_what_to_pass(tmp_path):
    with pytest.raises(DataError, match="--download") as error:
        load("cifar10", tmp_path)
    _one_line(error)


# Folders


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
    monkeypatch.setattr(datasets, "_decode", lambda path: pytest.fail("decoded again"))
    second = load(f"folder:{root}", tmp_path)
    assert first.fingerprint == second.fingerprint and capsys.readouterr().err == ""
    for a, b in zip((first.train, first.validation, first.read_test()), (second.train, second.validation,
                    second.read_test()), strict=True):  # fmt: skip
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
    lines = [f"{digest}  {path.relative_to(root).as_posix()}\n" for digest, path in zip(digests, files, strict=True)]
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
        np.save(place, np.array([_Hostile(tmp_path / "payload")], dtype=object), allow_pickle=True)
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
        (lambda root: [_remove(root / part / "dog") for part in ("train", "test")], "1 class folders"),
        (lambda root: [path.unlink() for path in (root / "train" / "cat").iterdir()], "train/cat.*no images"),
        (lambda root: (root / "test" / "cat" / "1.png").write_bytes(b"text"), r"cannot read image.*test/cat/1\.png"),
        (lambda root: (root / "test" / "cat" / "sub").mkdir(), "cannot read.*test/cat/sub"),
        (lambda root: Image.new("RGB", (32, 31)).save(root / "test" / "dog" / "1.png"), r"dog/1\.png.*32x31.*32x32"),
        (lambda root: [(root / "train" / "cat" / f"{i}.png").unlink() for i in range(9)] +
                      [(root / "train" / "dog" / f"{i}.png").unlink() for i in range(9)], "2 training images"),
    ],
)  # fmt: skip
def test_folder_errors_name_the_cause(tmp_path, harm, words):
    root = _folder(tmp_path / "pets")
    harm(root)
    with pytest.raises(DataError, match=words) as error:
        load(f"folder:{root}", tmp_path)
    _one_line(error)


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
    assert [data.fingerprint[k] for k in ("train", "validation", "test", "num_classes")] == [45000, 5000, 10000, 10]
    assert np.allclose(data.mean, (0.491, 0.482, 0.447), atol=0.002)
    assert np.allclose(data.std, (0.247, 0.243, 0.262), atol=0.004)
    assert torch.bincount(data.read_test().labels).tolist() == [1000] * 10


# Batches


def _reference(split, batches, seed, epoch):
    """Pad, crop and mirror image by image, with the parameters read off the drawn rows and columns."""
    order, rows, columns = batches.draw(seed, epoch)
    p, size = batches.crop_padding, split.images.shape[1]
    for place in range(batches.steps_per_epoch * batches.batch_size):
        image = np.pad(split.images[order[place]].numpy(), ((p, p), (p, p), (0, 0)))
        top, left = int(rows[place].min()), int(columns[place].min())
        crop = image[top : top + size, left : left + size]
        yield crop[:, ::-1] if columns[place][0] > columns[place][-1] else crop


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(0, 5), st.booleans(), st.integers(0, 2**40), st.integers(0, 300), st.data())
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
    epochs = {key: torch.cat([x for x, _ in batches.epoch(*key)]) for key in [(0, 0), (0, 1), (1, 0), (1, 1)]}
    again = Batches(_split(50), 16, 4, True)
    for key, images in epochs.items():
        assert torch.equal(torch.cat([x for x, _ in again.epoch(*key)]), images)
        assert sum(torch.equal(images, other) for other in epochs.values()) == 1


@given(st.integers(0, 2**63), st.integers(0, 10**6))
def test_epoch_seed_has_63_bits(seed, epoch):
    assert 0 <= datasets.epoch_seed(seed, epoch) < 2**63


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
