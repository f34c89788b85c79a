"""Pictures that share objects, at the course's sizes: relevance by every rule, and an epoch of triplets."""

from functools import partial

import numpy as np
import torch

from m5utils import heads, object_heads, relevance
from m5utils.object_tasks import Pictures

from .measuring import bare_products, fastest_product, interleaved, peak_mb, repeat

N_TRAIN, N_QUERY, N_GALLERY, N_CATEGORIES = 82_081, 1_917, 1_959, 80
IN_DIM, DIM, BATCH = 4096, 256, 256


def run() -> dict[str, float]:
    """Seconds and memory of all rules, then an epoch against its multiply-adds."""
    return of_rules() | of_triplets()


def of_rules() -> dict[str, float]:
    """Every rule once, its matrix thrown away before the next; memory beside the counts."""
    random = np.random.default_rng(0)
    query, gallery = (random.poisson(0.09, (n, N_CATEGORIES)) for n in (N_QUERY, N_GALLERY))

    def every_rule() -> None:
        for rule in relevance.RULES:
            relevance.shared_objects(query, gallery, rule)

    before = peak_mb(lambda: None)
    extra = peak_mb(every_rule) - before
    seconds = interleaved({"all": every_rule}, rounds=3)["all"]
    return {"coco_relevance/seconds": seconds, "coco_relevance/extra_mb": max(0.0, extra)}


def of_triplets() -> dict[str, float]:
    """An epoch of `object_heads.fit` over cached features, and the multiply-adds it cannot do without."""
    seeded, random = torch.Generator().manual_seed(0), np.random.default_rng(0)
    counts = random.poisson(0.09, (N_TRAIN, N_CATEGORIES))
    features = torch.rand(N_TRAIN, IN_DIM, generator=seeded)
    train = Pictures(features, counts, (counts > 0).astype(np.int64), np.arange(N_TRAIN))
    products = bare_products(torch.randn(BATCH, IN_DIM), torch.randn(DIM, IN_DIM))
    head = heads.linear(features, DIM)
    calls = {name: partial(repeat, product, 100) for name, product in products.items()}
    calls["ours"] = lambda: object_heads._fit(head, train, "weighted", 1, 5e-4, BATCH)
    seconds = interleaved(calls, rounds=4)
    one = fastest_product(seconds) / 100
    of_layer, of_scores = 2 * N_TRAIN * IN_DIM * DIM, 3 * N_TRAIN * BATCH * DIM  # forward and each gradient
    floor = (of_layer + of_scores) / (BATCH * IN_DIM * DIM) * one
    return {
        "coco_triplet/fraction_of_floor": floor / seconds["ours"],
        "coco_triplet/seconds/epoch": seconds["ours"],
    }
