"""Fisher vectors: gradients by differences, libraries' numbers where they know the model, EM that rises."""

import numpy as np
import pytest
from skimage.feature import fisher_vector
from sklearn.mixture import GaussianMixture

from m5utils.encoders import fisher, text
from m5utils.encoders.fisher import Mixture

K, D = 3, 2
CAPTIONS = ["a red ball", "a red red dog", "the dog runs", "...", "a ball and the dog"]


def mixture(kind: str) -> Mixture:
    """One that nothing was fitted on."""
    draw = np.random.default_rng(0)
    laplacian = {
        "gaussian": np.zeros((K, D), bool),
        "laplacian": np.ones((K, D), bool),
        "hybrid": np.arange(K * D).reshape(K, D) % 2 == 0,
    }
    return Mixture(
        np.array([0.2, 0.5, 0.3]), draw.normal(size=(K, D)), draw.uniform(0.5, 1.5, (K, D)), laplacian[kind]
    )


def words(n: int = 60, dim: int = D) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around three places, heavy-tailed in every second dimension, and how often each occurs."""
    draw = np.random.default_rng(1)
    places = draw.normal(scale=4, size=(3, dim))[draw.integers(3, size=n)]
    noise = np.where(np.arange(dim) % 2 == 0, draw.laplace(size=(n, dim)), draw.normal(size=(n, dim)))
    return places + noise, draw.integers(1, 9, size=n)


def by_differences(one: Mixture, vectors: np.ndarray, part: str) -> np.ndarray:
    """(n, K, D): the log-likelihood's gradient by the centres, or the scales, from two values each."""
    found, step = np.empty((len(vectors), K, D)), 1e-6
    for place in np.ndindex(K, D):
        moved = []
        for sign in (1, -1):
            values = getattr(one, part).copy()
            values[place] += sign * step
            parts = {"centres": one.centres, "scales": one.scales} | {part: values}
            moved.append(Mixture(one.weights, laplacian=one.laplacian, **parts).log_likelihood(vectors))
        found[:, *place] = (moved[0] - moved[1]) / (2 * step)
    return found


@pytest.mark.parametrize("kind", fisher.KINDS)
def test_gradients_are_those_of_the_log_likelihood_by_the_information(kind):
    one, vectors = mixture(kind), np.random.default_rng(2).normal(size=(7, D))
    moves = fisher.gradients(one, vectors).reshape(7, 2, K, D)
    # Fisher information of one word: weight × that of the component's density
    of_centre = one.weights[:, None] / one.scales**2
    of_scale = one.weights[:, None] * np.where(one.laplacian, 1, 2) / one.scales**2
    for number, (part, information) in enumerate({"centres": of_centre, "scales": of_scale}.items()):
        expected = by_differences(one, vectors, part) / np.sqrt(information)
        np.testing.assert_allclose(moves[:, number], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", fisher.KINDS)
def test_the_information_is_what_samples_say(kind):
    """Of words drawn from one component alone, every number's mean is 0 and its variance 1."""
    one, draw = mixture(kind), np.random.default_rng(3)
    alone = Mixture(np.ones(1), one.centres[:1], one.scales[:1], one.laplacian[:1])
    z = np.where(alone.laplacian, draw.laplace(size=(40_000, D)), draw.normal(size=(40_000, D)))
    moves = fisher.gradients(alone, alone.centres + alone.scales * z)
    np.testing.assert_allclose(moves.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(moves.var(axis=0), 1, atol=0.06)


def test_densities_integrate_to_one():
    x, cell = np.linspace(-15, 15, 601), (30 / 600) ** 2
    grid = np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)
    for kind in fisher.KINDS:
        assert np.exp(mixture(kind).log_likelihood(grid)).sum() * cell == pytest.approx(1, abs=2e-3)


def test_the_gaussian_part_is_scikit_image_s():
    one = mixture("gaussian")
    known = GaussianMixture(K, covariance_type="diag")
    known.weights_, known.means_, known.covariances_ = one.weights, one.centres, one.scales**2
    known.precisions_cholesky_ = 1 / one.scales
    vectors = np.random.default_rng(4).normal(size=(9, D))
    ours, theirs = fisher.gradients(one, vectors).mean(axis=0), fisher_vector(vectors, known)
    np.testing.assert_allclose(ours[: K * D], theirs[K : K + K * D], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ours[K * D :], -theirs[K + K * D :], rtol=1e-4, atol=1e-6)  # their sign


def test_the_gaussian_fit_is_scikit_learn_s_on_all_words(monkeypatch):
    monkeypatch.setattr(fisher, "GAIN", 1e-9)
    vectors, counts = words()
    ours = fisher.fit(vectors, counts, 3, "gaussian")
    start = {
        "weights_init": ours.weights,
        "means_init": ours.centres,
        "precisions_init": ours.scales**-2,
    }
    theirs = GaussianMixture(3, covariance_type="diag", reg_covar=0, tol=1e-9, max_iter=2000, **start)
    theirs.fit(np.repeat(vectors, counts, axis=0))
    np.testing.assert_allclose(ours.weights, theirs.weights_, atol=1e-3)
    np.testing.assert_allclose(ours.centres, theirs.means_, atol=1e-2)
    np.testing.assert_allclose(ours.scales, np.sqrt(theirs.covariances_), atol=1e-2)


@pytest.mark.parametrize("kind", fisher.KINDS)
def test_every_round_makes_the_words_likelier(kind, monkeypatch):
    monkeypatch.setattr(fisher, "GAIN", -np.inf)
    vectors, counts = words()
    reached = []
    for rounds in range(1, 12):
        monkeypatch.setattr(fisher, "ROUNDS", rounds)
        likely = fisher.fit(vectors, counts, 3, kind).log_likelihood(vectors)
        reached.append(float(np.average(likely, weights=counts)))
    assert (np.diff(reached) > -1e-9).all(), reached
    assert reached[-1] > reached[0] + 1e-3


def test_the_hybrid_takes_the_likelier_and_is_at_least_as_likely_as_either():
    draw = np.random.default_rng(5)
    vectors = np.column_stack([draw.laplace(size=4000), draw.normal(size=4000)])
    counts = np.ones(4000)
    likely = {k: fisher.fit(vectors, counts, 1, k).log_likelihood(vectors).mean() for k in fisher.KINDS}
    hybrid = fisher.fit(vectors, counts, 1, "hybrid")
    assert hybrid.laplacian.tolist() == [[True, False]]
    assert likely["hybrid"] > max(likely["gaussian"], likely["laplacian"])


def test_a_laplacian_is_the_weighted_median_and_its_mean_distance():
    vectors, counts = np.array([[0.0], [1.0], [5.0]]) + 1, np.array([1, 5, 1])
    one = fisher.fit(vectors, counts, 1, "laplacian")
    assert one.centres.tolist() == [[2.0]]  # of 1 2 2 2 2 2 6
    assert one.scales[0, 0] == pytest.approx((1 + 4) / 7)


def test_a_word_counts_as_often_as_it_occurs():
    vectors, counts = words()
    counted = fisher.fit(vectors, counts, 1, "hybrid")
    listed = np.repeat(vectors, counts, axis=0)
    np.testing.assert_allclose(counted.centres, fisher.fit(listed, np.ones(len(listed)), 1, "hybrid").centres)


def encoded(mixtures: list[Mixture], captions: list[str], table: dict[str, np.ndarray]) -> np.ndarray:
    split = text.split(captions)
    vectors = np.array([table[word] for word in split.vocabulary]).reshape(-1, D)
    return np.concatenate([*fisher.blocks(mixtures, split, vectors)])


TABLE = {
    word: np.random.default_rng(n).normal(size=D) for n, word in enumerate(text.split(CAPTIONS).vocabulary)
}


def test_a_caption_is_the_sum_of_its_words_rooted_and_of_length_1(monkeypatch):
    both = [mixture("gaussian"), mixture("hybrid")]
    found = encoded(both, CAPTIONS, TABLE)
    assert found.shape == (5, sum(one.dim for one in both))
    assert found.dtype == np.float32
    for caption, row in zip(CAPTIONS, found, strict=True):
        for one, part in zip(both, np.split(row, 2), strict=True):
            total = sum(
                (fisher.gradients(one, TABLE[word][None])[0] for word in text.words(caption)),
                np.zeros(one.dim),
            )
            rooted = np.sign(total) * np.abs(total) ** 0.5
            np.testing.assert_allclose(part, rooted / (np.linalg.norm(rooted) or 1), atol=1e-5)
    monkeypatch.setattr(fisher, "AT_ONCE", 2)  # does not divide the 5
    np.testing.assert_array_equal(encoded(both, CAPTIONS, TABLE), found)


def test_captions_without_words_or_vectors_are_zeros():
    unknown = TABLE | {"dog": np.zeros(D)}
    found = encoded([mixture("hybrid")], ["...", "dog", "a dog", "a"], unknown)
    assert not found[:2].any()
    np.testing.assert_array_equal(found[2], found[3])
    assert found[2].any()


def test_fitting_refuses():
    vectors, counts = words(5)
    with pytest.raises(ValueError, match="out of gaussian, laplacian, hybrid; got 'student'"):
        fisher.fit(vectors, counts, 2, "student")
    for components in (0, 6):
        with pytest.raises(ValueError, match=f"1 to 5 components.*got {components}"):
            fisher.fit(vectors, counts, components, "hybrid")
    with pytest.raises(ValueError, match="1 to 1 components, as many as different words occur; got 2"):
        fisher.fit(np.repeat(vectors[:1], 4, axis=0), counts[:4], 2, "hybrid")
    with pytest.raises(ValueError, match="in one place along dimension 0"):  # a vocabulary of one word
        fisher.fit(vectors[:1], counts[:1], 1, "gaussian")
    with pytest.raises(ValueError, match="1 to 0 components"):  # words without a vector, or that never occur
        fisher.fit(np.zeros((4, D)), np.ones(4), 1, "gaussian")
    with pytest.raises(ValueError, match=r"got \(5, 2\) and \(4,\)"):
        fisher.fit(vectors, counts[:4], 1, "hybrid")
    vectors[3, 1] = np.nan
    with pytest.raises(ValueError, match="word 3 is not finite"):
        fisher.fit(vectors, counts, 1, "hybrid")


def test_fitting_repeats():
    once, again = (fisher.fit(*words(), 3, "hybrid", seed=1) for _ in range(2))
    for part in ("weights", "centres", "scales", "laplacian"):
        assert np.array_equal(getattr(once, part), getattr(again, part))
