"""The published data sets.

What is read, from small archives of the same formats, and that nothing is parsed unverified.
"""

import hashlib
import io
import json
import os
import pickle
import struct
import tarfile
import threading
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
import torchvision
from scipy.io import savemat

import run_bench
from benchmarks.data import archives
from benchmarks.data.archives import ARCHIVES, CIFAR10, CIFAR100, SVHN, Archive, Pin, load_archive
from benchmarks.data.datasets import load
from benchmarks.data.splits import DataError
from benchmarks.training.checkpoints import load_checkpoint
from models import registry
from tests.conftest import Hostile, one_line

# Archives made here


def cifar10_batch(count, seed, payload=None):
    generator = np.random.default_rng(seed)
    data = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
    return pickle.dumps(
        {"data": data, "labels": [i % 10 for i in range(count)], **(payload or {})}, protocol=2
    )


def pin(name, content):
    return Pin(name, hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest())


def pack(folder, batches, extra=(), archive=CIFAR10):
    """A tar in CIFAR's format, and the archive with pins that match it.

    The last batch is the test split.
    """
    path = folder / archive.tar.name
    with tarfile.open(path, "w:gz") as tar:
        for name, content in batches.items():
            member = tarfile.TarInfo(f"{archive.folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member, content in extra:
            tar.addfile(member, io.BytesIO(content))
    files = [replace(pin(name, content), sha256=None) for name, content in batches.items()]
    return path, replace(
        archive,
        tar=pin(path.name, path.read_bytes()),
        train=tuple(files[:-1]),
        test=tuple(files[-1:]),
    )


class Python2Pickler(pickle._Pickler):
    """Pickles text and bytes as Python 2 did, as strings without an encoding, and names NumPy's
    module of that time.
    """

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def save_string(self, text):
        raw = text.encode("latin1") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_string

    @classmethod
    def dumps(cls, value):
        buffer = io.BytesIO()
        cls(buffer, protocol=2).dump(value)
        return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def as_cifar100(images, labels, **changes):
    """The pickle that holds images (uint8, NHWC) and labels."""
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    names = [f"image_s_{number:06}.png" for number in range(len(labels))]
    content = {
        "filenames": names,
        "batch_label": "training batch 1 of 1",
        "fine_labels": labels.tolist(),
        "coarse_labels": (labels // 5).tolist(),
        "data": rows,
    }
    return Python2Pickler.dumps(content | changes)


def as_svhn(images, labels, **changes):
    """The .mat file that holds images (uint8, NHWC) and labels 0 to 9."""
    content = {
        "X": images.transpose(1, 2, 3, 0),
        "y": np.where(labels == 0, 10, labels)[:, None].astype(np.uint8),
    }
    buffer = io.BytesIO()
    savemat(
        buffer,
        {key: value for key, value in (content | changes).items() if value is not None},
        do_compression=True,
    )
    return buffer.getvalue()


def place_svhn(folder, train, test):
    """Bare files, and the archive with pins that match them."""
    contents = {"train_32x32.mat": train, "test_32x32.mat": test}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    train, test = ((pin(name, content),) for name, content in contents.items())
    return replace(SVHN, train=train, test=test)


@dataclass(frozen=True)
class Made:
    """A small data set on disk: its archive, the files of which it consists, and what is in it."""

    archive: Archive
    fetched: list
    train: tuple
    test: tuple


def make(name, folder, train=120, test=100):
    """Images at random, the test split's dark ones, so that its part in a mean would show."""
    classes = ARCHIVES[name].num_classes
    generator = np.random.default_rng(0)
    draw = [
        (generator.integers(0, top, (count, 32, 32, 3), dtype=np.uint8), np.arange(count) % classes)
        for top, count in ((256, train), (32, test))
    ]
    if name == "svhn":
        archive = place_svhn(folder, *(as_svhn(*part) for part in draw))
        return Made(archive, [folder / file.name for file in archive.files], *draw)
    path, archive = pack(
        folder,
        {key: as_cifar100(*part) for key, part in zip(("train", "test"), draw, strict=True)},
        (),
        CIFAR100,
    )
    return Made(archive, [path], *draw)


@pytest.fixture(params=["cifar100", "svhn"])
def made(request, tmp_path):
    return make(request.param, tmp_path)


# What cifar100 and svhn say


def test_images_labels_and_properties(made, tmp_path):
    data = load_archive(made.archive, tmp_path)
    test = data.read_test()
    assert np.array_equal(test.images, made.test[0]) and np.array_equal(test.labels, made.test[1])
    kept = (
        torch.cat([data.train.images, data.validation.images]),
        torch.cat([data.train.labels, data.validation.labels]),
    )
    pairs = [
        sorted((bytes(x), int(y)) for x, y in zip(*part, strict=True))
        for part in ([k.numpy() for k in kept], made.train)
    ]
    assert pairs[0] == pairs[1]
    assert (len(data.train), len(data.validation), data.train.labels.dtype) == (
        108,
        12,
        torch.int64,
    )
    assert (data.name, data.num_classes, data.flip) in {
        ("cifar100", 100, True),
        ("svhn", 10, False),
    }


def test_mean_and_deviation_are_those_of_the_train_split(made, tmp_path):
    data = load_archive(made.archive, tmp_path)
    pixels = data.train.images.numpy().reshape(-1, 3).astype(np.float64) / 255
    assert np.allclose(data.mean, pixels.mean(0), rtol=1e-12) and np.allclose(
        data.std, pixels.std(0), rtol=1e-12
    )


def test_fingerprint_is_that_of_sha256sum(made, tmp_path):
    found = load_archive(made.archive, tmp_path).fingerprint
    folder = tmp_path / made.archive.folder
    lines = "".join(
        f"{hashlib.sha256((folder / f.name).read_bytes()).hexdigest()}  {f.name}\n"
        for f in made.archive.files
    )
    assert found["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    assert {key: found[key] for key in ("train", "validation", "test", "num_classes")} == {
        "train": 108,
        "validation": 12,
        "test": 100,
        "num_classes": made.archive.num_classes,
    }
    assert load_archive(made.archive, tmp_path).fingerprint == found


def test_torchvision_reads_the_same(made, tmp_path):
    """Its own readers, with the pins of what was made here."""
    data, a = load_archive(made.archive, tmp_path), made.archive
    if a.name == "svhn":
        pins = {
            split: ["", file.name, file.md5]
            for split, file in zip(("train", "test"), a.files, strict=True)
        }
        theirs = type("Small", (torchvision.datasets.SVHN,), {"split_list": pins})(
            tmp_path, split="test"
        )
        images, labels = theirs.data.transpose(0, 2, 3, 1), theirs.labels
    else:
        pins = {
            "train_list": [[f.name, f.md5] for f in a.train],
            "test_list": [[f.name, f.md5] for f in a.test],
        }
        theirs = type(
            "Small", (torchvision.datasets.CIFAR100,), pins | {"_load_meta": lambda self: None}
        )(tmp_path, train=False)
        images, labels = theirs.data, theirs.targets
    assert np.array_equal(data.read_test().images, images) and np.array_equal(
        data.read_test().labels, labels
    )


def test_pins_are_torchvisions():
    for ours, theirs in (
        (CIFAR10, torchvision.datasets.CIFAR10),
        (CIFAR100, torchvision.datasets.CIFAR100),
    ):
        assert (ours.url + ours.tar.name, ours.tar.name, ours.tar.md5) == (
            theirs.url,
            theirs.filename,
            theirs.tgz_md5,
        )
        assert [
            [f.name, f.md5] for f in ours.files
        ] == theirs.train_list + theirs.test_list and ours.folder == theirs.base_folder
    lists = torchvision.datasets.SVHN.split_list
    assert [[SVHN.url + f.name, f.name, f.md5] for f in SVHN.files] == [
        lists["train"],
        lists["test"],
    ]


def test_every_fetched_file_has_a_sha256():
    for archive in ARCHIVES.values():
        assert all(
            len(file.sha256) == 64 for file in ([archive.tar] if archive.tar else archive.files)
        )


# What is refused


@pytest.mark.parametrize("damage", ["bit", "truncated"])
def test_a_damaged_file_is_refused_before_it_is_parsed(made, tmp_path, damage):
    path = made.fetched[-1]
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]) if damage == "bit" else good[:-10])
    before = sorted(os.listdir(tmp_path))
    parsed = []
    with pytest.raises(DataError, match=f"{path.name}' is damaged: sha256 .*; delete it$") as error:
        load_archive(
            replace(
                made.archive,
                read=lambda content: parsed.append(content) or made.archive.read(content),
            ),
            tmp_path,
        )
    one_line(error)
    assert (
        sorted(os.listdir(tmp_path)) == before and len(parsed) == len(made.fetched) - 1
    )  # svhn's train file is sound


def test_a_damaged_file_in_the_folder_is_refused(tmp_path):
    made = make("cifar100", tmp_path)
    load_archive(made.archive, tmp_path)
    (tmp_path / "cifar-100-python" / "test").write_bytes(
        as_cifar100(*made.test, extra=Hostile(tmp_path / "payload"))
    )
    with pytest.raises(DataError, match=r"test' is damaged: md5 .*; delete its folder$") as error:
        load_archive(made.archive, tmp_path)
    one_line(error)
    assert not (tmp_path / "payload").exists()


@pytest.mark.parametrize("name", [*ARCHIVES])
def test_missing_data_are_said_in_one_line(tmp_path, name):
    with pytest.raises(DataError, match="--download") as error:
        load(name, tmp_path / "data")
    archive = ARCHIVES[name]
    for file in [archive.tar] if archive.tar else archive.files:
        assert file.name in one_line(error)
    assert not os.listdir(tmp_path)


def test_only_what_is_missing_is_named(tmp_path):
    made = make("svhn", tmp_path)
    made.fetched[1].unlink()
    with pytest.raises(DataError, match=r"^test_32x32\.mat not found"):
        load_archive(made.archive, tmp_path)


IMAGES, LABELS = np.zeros((12, 32, 32, 3), np.uint8), np.arange(12) % 10


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no MATLAB file",
        as_svhn(IMAGES, LABELS, y=np.zeros((12, 1), np.uint8)),  # 0 is written as 10
        as_svhn(IMAGES, LABELS, y=np.full((12, 1), 11, np.uint8)),
        as_svhn(IMAGES, LABELS[:11]),
        as_svhn(IMAGES, LABELS, X=None),
        as_svhn(IMAGES, LABELS, y=None),
        as_svhn(IMAGES.astype(np.float64), LABELS),
        as_svhn(IMAGES[:, :31], LABELS),
        as_svhn(IMAGES, LABELS, X=IMAGES[..., 0]),
        as_svhn(IMAGES, LABELS, X=np.array([[{}]], dtype=object)),
    ],
)
def test_mat_files_of_another_format_are_refused(tmp_path, content):
    archive = place_svhn(tmp_path, content, as_svhn(IMAGES, LABELS))
    with pytest.raises(DataError, match=r"train_32x32.mat' is not a file of svhn: \S") as error:
        load_archive(archive, tmp_path)
    one_line(error)


@pytest.mark.parametrize(
    "changes",
    [
        {"fine_labels": [100] * 12},
        {"fine_labels": [-1] * 12},
        {"fine_labels": [1] * 11},
        {"data": IMAGES.reshape(12, -1).astype(np.int32)},
    ],
)
def test_cifar100_files_of_another_format_are_refused(tmp_path, changes):
    batches = {"train": as_cifar100(IMAGES, LABELS, **changes), "test": as_cifar100(IMAGES, LABELS)}
    _, archive = pack(tmp_path, batches, (), CIFAR100)
    with pytest.raises(DataError, match=r"train' is not a file of cifar100: \S") as error:
        load_archive(archive, tmp_path)
    one_line(error)


# Fetching


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves a folder on this machine; gives it and its address."""
    folder = tmp_path / "web"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    serving = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True).start()
    yield folder, f"http://127.0.0.1:{serving.server_port}/"
    serving.shutdown()
    serving.server_close()


@pytest.mark.parametrize("name", ["cifar100", "svhn"])
def test_download_fetches_what_is_missing(server, tmp_path, name):
    folder, url = server
    archive = replace(make(name, folder).archive, url=url)
    place = tmp_path / "data"
    data = load_archive(archive, place, download=True)
    assert data.fingerprint == load_archive(archive, folder).fingerprint
    (fetched := place / (archive.tar or archive.test[0]).name).unlink()
    load_archive(archive, place, download=True)
    assert fetched.exists() == (archive.tar is None)  # beside an unpacked folder no tar is needed


@pytest.mark.parametrize("trouble", ["not there", "another file"])
def test_a_download_that_goes_wrong_leaves_nothing(server, tmp_path, trouble):
    folder, url = server
    made = make("svhn", folder)
    made.fetched[0].unlink() if trouble == "not there" else made.fetched[0].write_bytes(
        b"another file"
    )
    with pytest.raises(DataError, match=f"cannot download {url}train_32x32.mat: ") as error:
        load_archive(replace(made.archive, url=url), tmp_path / "data", download=True)
    one_line(error)
    assert os.listdir(tmp_path / "data") == []


# The number of classes, from the archive to the record


def test_models_take_their_classes_from_the_data(made, tmp_path, monkeypatch, capsys):
    name, classes = made.archive.name, made.archive.num_classes
    monkeypatch.setitem(archives.ARCHIVES, name, made.archive)
    (tmp_path / "tiny.toml").write_text(
        'name = "tiny"\nbase = "demo"\nepochs = 1\nbatch_size = 32\n'
    )
    places = [
        "--results-dir",
        str(tmp_path / "results"),
        "--reports-dir",
        str(tmp_path / "reports"),
        "--checkpoint-dir",
        str(tmp_path / "checkpoints"),
        "--data-dir",
        str(tmp_path),
    ]
    run = f"{name}/hyper_resnet10_1/tiny-seed0"
    assert (
        run_bench.main(
            [
                "train",
                "hyper_resnet10_1",
                "--recipe",
                str(tmp_path / "tiny.toml"),
                "--dataset",
                name,
                *places,
            ]
        )
        == 0
    )
    record = json.loads((tmp_path / f"results/runs/{run}.json").read_text())
    assert record["status"] == "ok" and record["dataset_fingerprint"]["num_classes"] == classes
    assert record["params"] == sum(registry.get("hyper_resnet10_1").parameters(classes).values())
    assert record["params_by_component"]["classifier"] == 65 * classes
    checkpoint = tmp_path / f"checkpoints/{run}.ckpt"
    assert load_checkpoint(checkpoint)["model"]["classifier.weight"].shape == (classes, 64)
    capsys.readouterr()
    assert run_bench.main(["evaluate", str(checkpoint), "--dataset", name, *places]) == 0
    assert f"test error {record['test_error']:.2f} %" in capsys.readouterr().out
    assert run_bench.main(["verify", "--results-dir", str(tmp_path / "results"), *places[4:6]]) == 0
    assert run_bench.main(["report", *places]) == 0
    assert f"{record['params']:,}" in (tmp_path / f"reports/{name}/README.md").read_text()


def test_the_command_line_names_every_data_set(capsys):
    with pytest.raises(SystemExit):
        run_bench.main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert all(shown.count(name) >= 2 for name in ARCHIVES)  # at --dataset and at --download


# cifar10 in its archive: hostile and damaged files


def _good_batches():
    return {
        "data_batch_1": cifar10_batch(20, 1),
        "data_batch_2": cifar10_batch(20, 2),
        "test_batch": cifar10_batch(10, 3),
    }


def test_archive_loads_and_its_folder_gives_the_same(tmp_path):
    path, archive = pack(tmp_path, _good_batches())
    data = load_archive(archive, tmp_path)
    path.unlink()
    assert sorted(os.listdir(tmp_path)) == [CIFAR10.folder]
    assert load_archive(archive, tmp_path).fingerprint == data.fingerprint
    assert (len(data.train), len(data.validation), len(data.read_test()), data.flip) == (
        36,
        4,
        10,
        True,
    )
    original = pickle.loads(_good_batches()["test_batch"])["data"].reshape(-1, 3, 32, 32)
    assert np.array_equal(data.read_test().images.permute(0, 3, 1, 2), original)
    both = torch.cat([data.train.images, data.validation.images]).numpy()
    assert len({bytes(image) for image in both}) == 40


def test_two_processes_may_extract_it(tmp_path):
    path, archive = pack(tmp_path, _good_batches())
    for _ in range(
        2
    ):  # the second as if the first had come between its look for the folder and its end
        archives._extract(path, archive.tar, tmp_path / CIFAR10.folder)
    assert sorted(os.listdir(tmp_path)) == sorted([CIFAR10.folder, path.name])


@pytest.mark.parametrize("damage", ["bit", "truncated", "another archive"])
def test_tampered_archive_is_refused_before_anything_is_extracted(tmp_path, damage):
    payload = {
        "data_batch_1": cifar10_batch(20, 1, {"x": Hostile(tmp_path / "payload")}),
        "test_batch": cifar10_batch(10, 3),
    }
    path, archive = pack(tmp_path, payload)
    good = path.read_bytes()
    if damage == "bit":
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    elif damage == "truncated":
        path.write_bytes(good[:-10])
    else:
        archive = CIFAR10
    with pytest.raises(DataError, match="sha256") as error:
        load_archive(archive, tmp_path)
    one_line(error)
    assert os.listdir(tmp_path) == [CIFAR10.tar.name]


def test_tampered_batch_is_refused_before_it_is_unpickled(tmp_path):
    _, archive = pack(tmp_path, _good_batches())
    load_archive(archive, tmp_path)
    batch = tmp_path / CIFAR10.folder / "data_batch_2"
    batch.write_bytes(cifar10_batch(20, 2, {"x": Hostile(tmp_path / "payload")}))
    with pytest.raises(DataError, match=r"data_batch_2.*md5"):
        load_archive(archive, tmp_path)
    assert not (tmp_path / "payload").exists()


def test_hostile_pickle_with_the_right_hash_runs_nothing(tmp_path):
    batches = {
        "data_batch_1": cifar10_batch(20, 1, {"x": Hostile(tmp_path / "payload")}),
        "test_batch": cifar10_batch(10, 3),
    }
    _, archive = pack(tmp_path, batches)
    with pytest.raises(DataError, match=r"mkdir is not allowed"):
        load_archive(archive, tmp_path)
    assert not (tmp_path / "payload").exists()
    pickle.loads(batches["data_batch_1"])  # the payload itself works
    assert (tmp_path / "payload").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02}.", b"no pickle", pickle.dumps({"data": [1], "labels": [1]}, 2)]
)
def test_batches_of_another_format_are_refused(tmp_path, content):
    _, archive = pack(tmp_path, {"data_batch_1": content, "test_batch": cifar10_batch(10, 3)})
    with pytest.raises(DataError, match="not a file of cifar10") as error:
        load_archive(archive, tmp_path)
    one_line(error)


def _link(kind, target):
    member = tarfile.TarInfo(f"{CIFAR10.folder}/link")
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize("kind", ["parent", "symbolic link", "hard link"])
def test_members_that_leave_the_folder_are_refused(tmp_path, kind):
    inside = tmp_path / "data"
    inside.mkdir()
    outside = tmp_path / "outside"
    member = tarfile.TarInfo("../../outside")
    member.size = 3
    members = {
        "parent": member,
        "symbolic link": _link(tarfile.SYMTYPE, "../../../outside"),
        "hard link": _link(tarfile.LNKTYPE, "../../outside"),
    }
    path, archive = pack(inside, _good_batches(), [(members[kind], b"abc")])
    with pytest.raises(DataError, match="cannot extract") as error:
        load_archive(archive, inside)
    one_line(error)
    assert (
        not outside.exists()
        and os.listdir(tmp_path) == ["data"]
        and os.listdir(inside) == [path.name]
    )
