"""Average precision of MIT_split's size: ours against scikit-learn called per query, as students do."""

import numpy as np
from sklearn.metrics import average_precision_score

from m5utils import metrics, relevance

from .measuring import interleaved

N_QUERY, N_GALLERY, N_CLASSES = 404, 1881, 8


def run() -> dict[str, float]:
    """How many times longer scikit-learn takes for the same 404 values."""
    draw = np.random.default_rng(0)
    query_labels, gallery_labels = (draw.integers(N_CLASSES, size=n) for n in (N_QUERY, N_GALLERY))
    relevant = relevance.same_class(query_labels, gallery_labels)
    scores = draw.normal(size=relevant.shape) + relevant  # better than chance, worse than perfect

    def ours() -> np.ndarray:
        return metrics.average_precision(scores, relevant)

    def sklearn() -> list[float]:
        return [average_precision_score(r, s) for r, s in zip(relevant, scores, strict=True)]

    tied = np.round(scores)
    expected = [average_precision_score(r, s) for r, s in zip(relevant, tied, strict=True)]
    np.testing.assert_allclose(metrics.average_precision(tied, relevant), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours(), sklearn(), rtol=0, atol=1e-9)
    seconds = interleaved({"ours": ours, "sklearn": sklearn}, rounds=5)
    return {
        "ap_mit/sklearn_over_ours": seconds["sklearn"] / seconds["ours"],
        **{f"ap_mit/seconds/{name}": value for name, value in seconds.items()},
    }
