"""Heads by meaning: what training must do, what is cached, and the model by hand."""

import numpy as np
import pytest
import torch
from reference import gaussian
from scipy import sparse
from torch.nn import functional

from m5utils import semantic_heads
from m5utils.semantic_heads import Recipe
from m5utils.semantic_triplets import Described

FEW = {"dim": 8, "near": 6, "hardest": 4, "epochs": 12, "batch": 20, "rate": 1e-2}


def drawn(n: int = 80, seed: int = 0) -> Described:
    """Images of six things; a few numbers say which, and louder ones say nothing."""
    rng = np.random.default_rng(seed)
    shown = (rng.random((n, 6)) < 0.4).astype(np.float64)
    shown[np.arange(n), rng.integers(6, size=n)] = 1
    said = np.concatenate([shown + 0.2 * rng.normal(size=(n, 6)), 2 * rng.normal(size=(n, 20))], axis=1)
    rows = sparse.csr_array(shown / np.linalg.norm(shown, axis=1, keepdims=True)).astype(np.float32)
    return Described(torch.from_numpy(said).float(), rows)


def correlation(scores: torch.Tensor, described: Described) -> float:
    gains = (described.texts @ described.texts.T).toarray()
    off = ~np.eye(len(described), dtype=bool)
    return float(np.corrcoef(scores.numpy()[off], gains[off])[0, 1])


@pytest.mark.parametrize("objective", semantic_heads.OBJECTIVES)
def test_training_brings_what_means_the_same_together(objective):
    other = drawn(40, seed=1)
    model, loss = semantic_heads.fit(drawn(), Recipe(objective, **FEW))
    images, texts = model.embed(other)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(40))
    as_it_was = functional.normalize(other.features)
    assert loss[-1] < loss[0]
    assert correlation(images @ images.T, other) > correlation(as_it_was @ as_it_was.T, other) + 0.2
    if objective == "joint":
        asked = semantic_heads.image_and_text(images, texts)
        assert correlation(asked @ images.T, other) > correlation(images @ images.T, other)


def test_words_by_hand():
    words = semantic_heads.Words(3, 2)
    words.weight.data = torch.tensor([[3.0, 0.0], [0.0, 2.0], [5.0, 5.0]])
    texts = sparse.csr_array(np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=np.float32))
    torch.testing.assert_close(words(texts), torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.0, 1.0]]))


def test_gradients_of_the_words_are_right():
    texts = sparse.csr_array(np.array([[0.6, 0.8, 0.0], [0.0, 1.0, 0.0]]))
    words = semantic_heads.Words(3, 2).double()

    def embedded(weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(words, {"weight": weight}, (texts,))

    assert torch.autograd.gradcheck(embedded, gaussian(3, 2).double().requires_grad_())


def test_image_and_text_lie_between_them():
    images, texts = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    found = semantic_heads.image_and_text(images, texts)
    torch.testing.assert_close(found, torch.tensor([[0.5**0.5, 0.5**0.5], [1.0, 0.0]]))


def test_a_model_is_trained_once_and_its_name_is_all_that_decides_it(monkeypatch):
    fitted, really = [], semantic_heads._fit
    monkeypatch.setattr(semantic_heads, "_fit", lambda *given: fitted.append(1) or really(*given))
    few = {"dim": 4, "near": 3, "hardest": 2, "epochs": 1, "batch": 20}
    first, _ = semantic_heads.fit(drawn(30), Recipe("joint", **few))
    again, _ = semantic_heads.fit(drawn(30), Recipe("joint", **few))
    assert len(fitted) == 1
    assert torch.equal(first.words.weight, again.words.weight)
    changes = [{"dim": 5}, {"near": 4}, {"hardest": 1}, {"margin": 0.3}, {"epochs": 2}, {"batch": 9}]
    for number, change in enumerate([*changes, {"rate": 1e-4}], start=2):
        semantic_heads.fit(drawn(30), Recipe("joint", **few | change))
        assert len(fitted) == number
    semantic_heads.fit(drawn(30), Recipe("joint", **few), seed=1)
    semantic_heads.fit(drawn(30, seed=1), Recipe("joint", **few))
    assert len(fitted) == 10


def test_the_same_seed_gives_the_same_model(monkeypatch, tmp_path):
    recipe = Recipe("joint", dim=4, near=3, hardest=2, epochs=1, batch=20)
    first, _ = semantic_heads.fit(drawn(30), recipe)
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "other"))
    again, _ = semantic_heads.fit(drawn(30), recipe)
    assert torch.equal(first.images.layers.weight, again.images.layers.weight)
    assert torch.equal(first.words.weight, again.words.weight)


def test_an_image_of_which_nothing_known_was_said_does_no_harm():
    described = drawn(30)
    rows = described.texts.toarray()
    rows[7] = 0
    silent = Described(described.features, sparse.csr_array(rows))
    for objective in semantic_heads.OBJECTIVES:
        model, loss = semantic_heads.fit(silent, Recipe(objective, dim=4, near=3, epochs=1, batch=10))
        assert np.isfinite(loss).all()
        assert torch.isfinite(model.images.layers.weight).all()


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(ValueError, match="visual, joint, wsabie; got 'both'"):
        Recipe("both")
    with pytest.raises(ValueError, match="at least 1"):
        Recipe(near=0)
    described = drawn(3)
    with pytest.raises(ValueError, match="at least 2 images with known words; got 1"):
        semantic_heads.fit(described.take(np.array([0])), Recipe(epochs=1))
    nothing = Described(described.features, described.texts * 0)
    nothing.texts.eliminate_zeros()
    with pytest.raises(ValueError, match="got 3 with 0 words"):
        semantic_heads.fit(nothing, Recipe(epochs=1))


@pytest.mark.parametrize("objective", ["visual", "joint"])
def test_the_gradient_does_not_depend_on_which_thread_comes_first(objective):
    described, recipe = drawn(400), Recipe(objective, dim=512, near=2, hardest=20, batch=400)
    found = []
    torch.set_num_threads(2)  # until the test ends
    for _ in range(6):
        torch.manual_seed(0)
        model = semantic_heads.Joint(described.features, described.texts.shape[1], recipe.dim)
        features = model.images.prepared(described.features)
        step = semantic_heads._triplets(model, features, described, recipe)
        step(np.arange(400)).backward()
        found.append([weights.grad for weights in model.parameters() if weights.grad is not None])
    for again in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(found[0], again, strict=True))
