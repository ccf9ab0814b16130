"""Text: what comes with Python, files and folders; vocabularies, fingerprints, streams."""

import pytest
import torch

from benchmarks.data import text
from benchmarks.data.splits import DataError
from tests.conftest import one_line


def test_pydoc_is_there_and_repeats_no_paragraph():
    loaded = text.load("pydoc")
    whole = text.pydoc()
    paragraphs = whole.split("\n")
    assert len(set(paragraphs)) == len(paragraphs) > 1000
    assert 250_000 < len(whole) < 600_000 and "  " not in whole
    parts = loaded.train, loaded.validation, loaded.read_test()
    assert "".join(loaded.symbols[number] for number in torch.cat(parts)) == whole
    assert len(loaded.train) == int(0.9 * len(whole)) and loaded.test_reads == 1
    assert loaded.fingerprint == text.load("pydoc").fingerprint
    assert loaded.fingerprint["num_classes"] == len(loaded.symbols) == len(set(loaded.symbols))


def test_a_file_is_split_in_order(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("ab" * 100)
    loaded = text.load(f"text:{file}")
    assert (loaded.name, loaded.symbols) == ("words", "ab")
    sizes = [loaded.fingerprint[key] for key in ("train", "validation", "test")]
    assert sizes == [180, 10, 10]
    assert loaded.train[:4].tolist() == [0, 1, 0, 1]


@pytest.fixture
def folder(tmp_path):
    """Three files; the test split has a symbol of its own."""
    for part, content in (("train", "abcabc"), ("valid", "cab"), ("test", "bé")):
        (tmp_path / f"{part}.txt").write_text(content, encoding="utf-8")
    return tmp_path


def test_symbols_that_training_lacks_are_refused_or_counted(folder):
    with pytest.raises(DataError) as error:
        text.load(f"text:{folder}")
    assert "symbols in test that its training split lacks: 'é'; text+unknown:PATH" in one_line(
        error
    )
    loaded = text.load(f"text+unknown:{folder}")
    assert loaded.symbols == f"abc{text.UNKNOWN}" and loaded.fingerprint["unknown"] == 1
    assert loaded.read_test().tolist() == [1, 3]


def test_the_test_split_in_other_symbols(folder):
    loaded = text.load(f"text+unknown:{folder}")  # its test split is "bé"
    assert loaded.read_test_as(f"zbé{text.UNKNOWN}").tolist() == [1, 2]
    assert loaded.read_test_as(f"z{text.UNKNOWN}").tolist() == [1, 1]
    assert loaded.read_test_as("zéb").tolist() == [2, 1]  # which its own training split lacks
    assert loaded.test_reads == 3
    with pytest.raises(DataError) as error:
        loaded.read_test_as("ab")
    assert "symbols in test that the model never saw: 'é'" in one_line(error)


def test_a_fingerprint_tells_texts_and_splits_apart(folder):
    before = text.load(f"text+unknown:{folder}").fingerprint
    (folder / "train.txt").write_text("abcab", encoding="utf-8")
    (folder / "valid.txt").write_text("ccab", encoding="utf-8")
    after = text.load(f"text+unknown:{folder}").fingerprint
    assert before["sha256"] != after["sha256"]
    assert before["decoded_sha256"] != after["decoded_sha256"]


def test_a_fingerprint_tells_vocabularies_apart(tmp_path):
    """Another text may have the same numbers: a network of one cannot read the other."""
    prints = []
    for symbols in ("abc", "xyz"):
        file = tmp_path / symbols
        file.write_text(100 * symbols, encoding="utf-8")
        prints.append(text.load(f"text:{file}").fingerprint["decoded_sha256"])
    assert prints[0] != prints[1]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("text:", "allowed are pydoc, text:PATH"),
        ("novel", "allowed are pydoc, text:PATH"),
        (
            "text:/nowhere/at.txt",
            "a text is a file, or a folder with train.txt, valid.txt, test.txt",
        ),
        ("text:/nowhere/a b.txt", "a name that is not allowed"),
    ],
)
def test_what_is_no_text_is_one_line(spec, told):
    with pytest.raises(DataError, match=told) as error:
        text.load(spec)
    one_line(error)


def test_files_that_cannot_be_used(tmp_path):
    file = tmp_path / "bytes.txt"
    file.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(DataError, match="is not UTF-8") as error:
        text.load(f"text:{file}")
    one_line(error)
    file.write_text("abab")
    with pytest.raises(DataError, match="0 symbols in valid; at least 2 are needed"):
        text.load(f"text:{file}")


@pytest.mark.parametrize(("count", "batch", "length"), [(100, 4, 7), (101, 5, 19), (8, 4, 1)])
def test_streams_go_on_and_read_every_symbol_of_whole_chunks_once(count, batch, length):
    symbols = torch.arange(count)
    streams = text.Streams(symbols, batch, length)
    chunks = [streams.chunk(number) for number in range(len(streams))]
    assert {chunk[0].shape for chunk in chunks} == {(length, batch)}
    x = torch.cat([chunk[0] for chunk in chunks])
    y = torch.cat([chunk[1] for chunk in chunks])
    assert count // batch - 1 - length < len(x) <= count // batch - 1
    assert torch.equal(y, x + 1) and torch.equal(x[1:], y[:-1])
    assert torch.equal(x[0], torch.arange(batch) * (count // batch))


def test_streams_of_too_few_symbols_are_refused():
    with pytest.raises(DataError, match="5 streams of 3 symbols, and the one after them, need 20"):
        text.Streams(torch.arange(19), 5, 3)


def test_a_symbol_for_unknown_ones_that_training_has_is_not_there_twice(tmp_path):
    for part, content in (("train", f"abc{text.UNKNOWN}"), ("valid", "cab"), ("test", "bz")):
        (tmp_path / f"{part}.txt").write_text(content, encoding="utf-8")
    loaded = text.load(f"text+unknown:{tmp_path}")
    assert loaded.symbols == f"abc{text.UNKNOWN}" and loaded.read_test().tolist() == [1, 3]
