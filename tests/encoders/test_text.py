import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m5utils.encoders import text

CAPTIONS = ["A dog in the kitchen.", "The DOG, the dog!", "...", "Un café — 東京 🐶 don't well-known"]


def test_words():
    assert text.words("A man's dog, in the KITCHEN.") == ["a", "man's", "dog", "in", "the", "kitchen"]
    assert text.words("Un café — 東京 🐶 don't well-known") == [
        "un", "café", "—", "東京", "🐶", "don't", "well-known",
    ]  # fmt: skip
    assert text.words(" \t...!? ") == []
    assert text.words("'quoted' -dash-") == ["quoted", "dash"]


@pytest.mark.slow
@given(st.text())
def test_words_of_anything(caption):
    assert all(word and word == word.strip() for word in text.words(caption))


def test_split():
    found = text.split(CAPTIONS)
    assert len(found) == 4
    assert found.counts.tolist() == [5, 4, 0, 7]
    assert list(found.vocabulary) == sorted(set(found.vocabulary))
    again = [
        [found.vocabulary[number] for number in found.of_caption[first:last]]
        for first, last in zip(found.starts, found.starts[1:], strict=False)
    ]
    assert again == [text.words(caption) for caption in CAPTIONS]
    assert found.matrix[1, found.vocabulary.index("dog")] == 2
    assert len(text.split([])) == 0


def test_one_hot():
    known = text.one_hot(["a", "dog"])
    assert known.table(["dog", "cat", "a"]).tolist() == [[0, 1], [0, 0], [1, 0]]
    assert known.knows("dog")
    assert not known.knows("cat")


def test_glove(tmp_path):
    file = tmp_path / "glove.txt"
    file.write_text("dog 1 2\ncat 3 4.5\n", encoding="utf-8")
    known = text.glove(file)
    assert known.dim == 2
    assert known.table(["cat", "bird"]).tolist() == [[3, 4.5], [0, 0]]
    file.write_text("dog 1 2\ncat 3\n")
    with pytest.raises(ValueError, match="line 2: expected 2 values, .* got 1"):
        text.glove(file)
    file.write_text("")
    with pytest.raises(ValueError, match="is empty"):
        text.glove(file)
    with pytest.raises(FileNotFoundError, match="none.txt is missing"):
        text.glove(tmp_path / "none.txt")


# ---- one vector per caption ----


def by_loops(captions, vectors, how, weight):
    rows = []
    for caption in captions:
        found = [weight(word) * vectors[word] for word in text.words(caption)]
        zeros = np.zeros_like(next(iter(vectors.values())))
        each = {
            "sum": np.sum(found or [zeros], axis=0),
            "mean": np.mean(found or [zeros], axis=0),
            "max": np.max(found or [zeros], axis=0),
            "min": np.min(found or [zeros], axis=0),
        }
        rows.append(np.concatenate([each[name] for name in how]))
    return np.array(rows)


@pytest.mark.parametrize("how", text.AGGREGATIONS)
def test_aggregations_are_the_slow_loop(how):
    found, draw = text.split(CAPTIONS), np.random.default_rng(0)
    table = draw.normal(size=(len(found.vocabulary), 3)).astype(np.float32)
    vectors = dict(zip(found.vocabulary, table, strict=True))
    weights = {
        "idf": lambda word: np.log(5 / (1 + sum(word in text.words(caption) for caption in CAPTIONS))),
        "sif": lambda word: 1e-3 / (1e-3 + sum(text.words(c).count(word) for c in CAPTIONS) / 16),
    }
    parts = {"mean_max_min": ("mean", "max", "min"), "idf": ("mean",), "sif": ("mean",)}.get(how, (how,))
    expected = by_loops(CAPTIONS, vectors, parts, weights.get(how, lambda _: 1))
    got = text.aggregate(found, table, how, text.frequencies(found))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_extremes_across_parts():
    captions = [f"w{n % 50} w{n % 7}" if n % 9 else "" for n in range(5000)]
    found = text.split(captions)
    table = np.random.default_rng(0).normal(size=(len(found.vocabulary), 2)).astype(np.float32)
    vectors = dict(zip(found.vocabulary, table, strict=True))
    expected = by_loops(captions, vectors, ("max",), lambda _: 1)
    np.testing.assert_allclose(text.aggregate(found, table, "max"), expected)


def test_weights_of_words_that_never_occurred():
    seen = text.frequencies(text.split(["a dog", "a cat"]))
    idf = seen.weights(["a", "dog", "bird"], "idf")
    sif = seen.weights(["a", "dog", "bird"], "sif")
    assert idf[0] < idf[1] < idf[2]
    assert sif[0] < sif[1] < sif[2] == 1


def test_aggregate_refuses():
    found = text.split(["a"])
    with pytest.raises(ValueError, match="sum, mean, .*; got 'median'"):
        text.aggregate(found, np.ones((1, 2), np.float32), "median")
    with pytest.raises(ValueError, match="idf needs the frequencies"):
        text.aggregate(found, np.ones((1, 2), np.float32), "idf")


# ---- FastText ----


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fasttext")
    captions = [
        f"a {one} dog in the {two}" for one in ("big", "small", "brown") for two in ("kitchen", "garden")
    ]
    return text.fasttext_trained(captions * 5, folder / "tiny.bin", dim=8, epochs=2), captions


def test_fasttext_knows_its_words_and_makes_others(trained):
    model, _ = trained
    assert model.dim == 8
    assert model.knows("dog")
    assert not model.knows("dogs")
    known, subwords = model.table(["dog", "dogs"])
    assert known.any()
    assert subwords.any()


@pytest.mark.slow
def test_fasttext_training_repeats(trained, tmp_path):
    model, captions = trained
    again = text.fasttext_trained(captions * 5, tmp_path / "again.bin", dim=8, epochs=2)
    assert np.array_equal(again.table(["dog", "kitchens"]), model.table(["dog", "kitchens"]))
    assert np.abs(again.table(["dog", "kitchens"])).max() < 1


@pytest.mark.slow
def test_a_file_cut_off_anywhere_is_refused(trained, tmp_path):
    _, captions = trained
    file = tmp_path / "whole.bin"
    assert text.fasttext_trained(captions, file, dim=64, epochs=1).dim == 64
    size = file.stat().st_size
    for length in [size - 1, size - 4096, size // 2, *range(400, 0, -7), 0]:
        os.truncate(file, length)
        with pytest.raises(ValueError, match="whole.bin is (cut off|not in FastText's)"):
            text.fasttext_file(file)


def test_training_that_fails_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no caption has a word"):
        text.fasttext_trained(["...", ""], tmp_path / "none.bin")
    monkeypatch.setattr(text, "_TRAIN", "raise SystemExit('out of memory')")
    with pytest.raises(ValueError, match="could not be trained: out of memory"):
        text.fasttext_trained(["a dog"], tmp_path / "none.bin")
    assert list(tmp_path.iterdir()) == []


def test_a_vec_is_named(tmp_path):
    file = tmp_path / "wiki.vec"
    file.write_text("2 3\ndog 1 2 3\ncat 4 5 6\n" + "x" * 200)
    with pytest.raises(ValueError, match="A .vec is text: take the .bin"):
        text.fasttext_file(file)
    with pytest.raises(FileNotFoundError, match="no.bin is missing"):
        text.fasttext_file(tmp_path / "no.bin")


def test_a_length_from_the_file_takes_no_memory(tmp_path):
    # a damaged head that promises two billion words
    head = struct.pack("<ii", text.MAGIC, text.VERSION) + struct.pack(
        "<12id", 8, *[1] * 7, 100, 3, 6, 1, 1e-4
    )
    (tmp_path / "huge.bin").write_bytes(
        head + struct.pack("<iiiqq", 2**31 - 1, 2**31 - 1, 0, 10, -1) + b"dog\0" * 99
    )
    with pytest.raises(ValueError, match="cut off"):
        text.fasttext_file(tmp_path / "huge.bin")


def test_phoc_says_where_the_letters_stand():
    found = text.phoc().vector("ab").reshape(15, 36)
    assert found[0].nonzero()[0].tolist() == [0, 1]  # the whole word: a and b
    assert [row.nonzero()[0].tolist() for row in found[1:3]] == [[0], [1]]  # halves: a, then b
    # thirds: a covers 0 to 1/2, two thirds of its width in the first third, one in the second
    assert [row.nonzero()[0].tolist() for row in found[3:6]] == [[0], [], [1]]
    vectors = text.phoc()
    assert vectors.dim == len(vectors.vector("ab")) == 540
    assert vectors.knows("b2")
    assert not vectors.knows("猫")


def test_out_of_vocabulary_is_counted_by_word_and_by_occurrence():
    seen, others = text.split(["a dog runs"]), text.split(["a dog", "a zebra", "a zebra sleeps"])
    of_words, of_vocabulary = text.unknown(text.one_hot(seen.vocabulary), others)
    assert of_words == pytest.approx(3 / 7)  # zebra twice, sleeps once
    assert of_vocabulary == pytest.approx(2 / 4)
    assert text.unknown(text.one_hot(seen.vocabulary), text.split([])) == (0.0, 0.0)


def test_padded_numbers_stop_at_the_most():
    found = text.padded(text.split(["", "c b a b", "a"]), most=3)
    assert found.tolist() == [[-1, -1, -1], [2, 1, 0], [0, -1, -1]]
    assert text.padded(text.split(["", ""])).tolist() == [[-1], [-1]]
