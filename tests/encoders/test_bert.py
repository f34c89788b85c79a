import json

import numpy as np
import pytest
import tiny
import torch

from m5utils import embeddings
from m5utils.encoders import bert

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "cat", "in", "the", "kitchen", "##s", "."]
TEXTS = [
    "a dog",
    "the cat in the kitchen .",
    "dogs",
    "",
    "a 🐶 dog",
    "the dog in the kitchen .",
    "cat " * 2000,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT of two layers and thirteen words, in Hugging Face's layout."""
    where = tmp_path_factory.mktemp("tiny_bert")
    tiny.write_bert(where, WORDS)
    return where


@pytest.fixture
def encoder(folder):
    return bert.bert_encoder(str(folder))


def vectors(encoder, texts):
    found = torch.empty(len(texts), encoder.dim)
    for rows, tokens in encoder.batches(texts):
        found[rows] = encoder(tokens)[: len(rows)]
    return found


def test_tokens(encoder):
    a_dog, _, dogs, nothing, emoji, _, long = encoder.tokens(TEXTS)
    assert a_dog == [2, 5, 6, 3]
    assert dogs == [2, 6, 11, 3]
    assert nothing == [2, 3]
    assert emoji == [2, 5, 1, 6, 3]
    assert len(long) == encoder.longest == 64


def test_batches_hold_one_length_and_every_text_once(encoder):
    seen = []
    for rows, tokens in encoder.batches(TEXTS * 9):
        assert len(tokens) == bert.BATCH
        assert len(rows) <= bert.BATCH
        own = encoder.tokens([(TEXTS * 9)[row] for row in rows])
        assert tokens[: len(rows)].tolist() == own
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(TEXTS) * 9))


def test_a_vector_never_depends_on_its_company(encoder):
    together, alone = vectors(encoder, TEXTS), torch.cat([vectors(encoder, [each]) for each in TEXTS])
    assert torch.equal(together, alone)
    others = vectors(encoder, TEXTS[::-1] * 3)
    assert torch.equal(others[: len(TEXTS)].flip(0), together)


def test_poolings_are_those_of_the_padded_and_masked_way(encoder):
    found, n = vectors(encoder, TEXTS), len(TEXTS)
    padded = encoder.tokenizer(TEXTS, truncation=True, max_length=64, padding=True, return_tensors="pt")
    mask = padded["attention_mask"][:, :, None].float()
    with torch.no_grad():
        model = encoder.model(**padded, output_hidden_states=True)
    last, four = model.last_hidden_state, torch.stack(model.hidden_states[-4:]).mean(dim=0)
    expected = {
        "cls": last[:, 0],
        "mean": (last * mask).sum(dim=1) / mask.sum(dim=1),
        "max": (last * mask + (mask - 1) * 1e9).amax(dim=1),
        "last4": (four * mask).sum(dim=1) / mask.sum(dim=1),
    }
    for pooling, values in expected.items():
        assert encoder.pooled(found, pooling).shape == (n, 8)
        torch.testing.assert_close(encoder.pooled(found, pooling), values, atol=2e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="cls, mean, max, last4; got 'sum'"):
        encoder.pooled(found, "sum")


def test_texts_go_through_the_cache(encoder, monkeypatch, tmp_path):
    monkeypatch.setenv("M5_CACHE", str(tmp_path))
    monkeypatch.setattr(embeddings, "TEXTS", 4)
    found = embeddings.encode_texts(encoder, TEXTS)
    assert torch.equal(found, vectors(encoder, TEXTS))
    monkeypatch.setattr(bert.BertEncoder, "batches", lambda *_: pytest.fail("encoded again"))
    assert torch.equal(embeddings.encode_texts(encoder, TEXTS), found)
    assert torch.equal(embeddings.encode_texts(encoder, TEXTS[:4]), found[:4])
    with pytest.raises(ValueError, match="at least one text"):
        embeddings.encode_texts(encoder, [])


def test_a_shard_of_texts_that_was_cut_off_is_encoded_again(encoder, monkeypatch, tmp_path):
    monkeypatch.setenv("M5_CACHE", str(tmp_path))
    found = embeddings.encode_texts(encoder, TEXTS).clone()
    (shard,) = tmp_path.glob("embeddings/*/*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-3])
    assert torch.equal(embeddings.encode_texts(encoder, TEXTS), found)


def test_other_weights_have_another_key(encoder, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "cache"))
    other = tmp_path / "other"
    encoder.tokenizer.save_pretrained(other)
    changed = bert.bert_encoder(str(folder)).model
    changed.embeddings.word_embeddings.weight[3] += 1
    changed.save_pretrained(other)
    assert bert.bert_encoder(str(other)).settings()["files"] != encoder.settings()["files"]


def test_a_folder_without_weights_says_what_is_missing(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(FileNotFoundError, match=r"has no model.safetensors: expected .*never a pickle"):
        bert.bert_encoder(str(tmp_path))


def test_a_model_that_cannot_be_fetched_says_what_to_do(monkeypatch):
    def refused(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refused)
    with pytest.raises(
        FileNotFoundError, match=r'bert-base-uncased is no folder .*give its path, or use "minilm"'
    ):
        bert.bert_encoder("bert-base-uncased")


def test_minilm_is_in_its_package():
    encoder = bert.bert_encoder()
    assert (encoder.hidden, encoder.dim, str(encoder)) == (384, 1536, "minilm")
    one, other, third = encoder.pooled(
        vectors(encoder, ["a dog runs on grass", "a puppy is running in the field", "stock prices fell"]),
        "mean",
    )
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(one, other, dim=0) > 0.5 > 0.3 > cosine(one, third, dim=0)
    assert np.isfinite(one.numpy()).all()
