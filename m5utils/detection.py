"""Train a detector's own part on cached maps, in minutes, and say how well it finds what is there.

Knows maps, boxes and torchvision's detectors. Must not know files of pictures, embeddings or relevance.
"""

import contextlib
import io
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from m5utils import checkpoints, paths, runtime
from m5utils.encoders import frozen_detector
from m5utils.encoders.boxes import squares
from m5utils.encoders.frozen_detector import DetectorMaps, Scenes

BATCH, RATE, WARM_UP = 8, 1e-3, 40  # pictures, highest rate, steps until it is reached


def fit(scenes: Scenes, epochs: int, seed: int = 0) -> nn.Module:
    """Train a Faster R-CNN on the maps of a frozen encoder; kept in the cache, named by all that decides it.

    Proposals and boxes are trained together; AdamW, its rate up for 40 steps, then down to 0 along a cosine.
    It takes minutes, and a run that is killed begins anew; the frozen encoder is not touched.

    Args:
        scenes: What to learn from.
        epochs: Passes over the pictures.
        seed: Of the first weights and the order.

    Returns:
        The whole detector, in evaluation mode, for `encoders.boxes.BoxEncoder`.

    Raises:
        ValueError: If no picture has an object, a box is no box, or the loss stops being finite.
    """
    if not any(map(len, scenes.boxes)):
        raise ValueError("expected pictures with objects to learn from: not one of these has any.")
    for row, boxes in enumerate(scenes.boxes):
        for box in boxes:
            if not (np.isfinite(box).all() and (box[3:] > 0).all() and 0 <= box[0] < scenes.n_categories):
                raise ValueError(
                    f"picture {row} has the box {box.tolist()}: expected finite numbers, sides above 0, and "
                    f"a category from 0 to {scenes.n_categories - 1}."
                )
    decided_by = {
        "pictures": scenes.key,
        "boxes": [of_one.tolist() for of_one in scenes.boxes],
        "maps": scenes.source.settings(),
        "n_categories": scenes.n_categories,
        "epochs": epochs,
        "seed": seed,
        "code": paths.code_key(sys.modules[__name__], frozen_detector),
    }
    runtime.seed_everything(seed)
    net = frozen_detector.untrained(scenes.source.encoder, scenes.n_categories)
    trained = _trained_parts(net)

    def train(folder: Path) -> None:
        losses = _train(net, scenes, epochs, seed)
        checkpoints.save(folder / "detector.safetensors", trained, {"loss": losses})

    done = checkpoints.trained_once(
        "detectors/detector.safetensors", decided_by, "training a detector", train
    )
    checkpoints.load(done, trained)
    return net.cpu().eval().requires_grad_(False)


def _trained_parts(net: nn.Module) -> dict[str, nn.Module]:
    """All but the frozen encoder."""
    return {
        "of_lower": net.backbone.of_lower,
        "of_upper": net.backbone.of_upper,
        "rpn": net.rpn,
        "roi_heads": net.roi_heads,
    }


def _train(net: nn.Module, scenes: Scenes, epochs: int, seed: int) -> list[float]:
    device, n = runtime.device(), len(scenes.maps)
    net.to(device).train()
    net.backbone.encoder.eval()
    targets = [_target(boxes, device) for boxes in scenes.boxes]
    parameters = [p for part in _trained_parts(net).values() for p in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=1e-2, fused=True)
    steps, step, history = epochs * max(1, round(n / BATCH)), 0, []
    for epoch in range(epochs):
        runtime.seed_everything(seed * 10_000 + epoch)
        batches = torch.randperm(n).tensor_split(steps // epochs)
        total = 0.0
        doing = f"detector, seed {seed}, epoch {epoch + 1} of {epochs}"
        for rows in runtime.progress(batches, len(batches), doing, "steps"):
            for group in optimizer.param_groups:
                falling = 0.5 * (1 + math.cos(math.pi * step / steps))
                group["lr"] = RATE * min(1.0, (step + 1) / WARM_UP) * falling
            loss = _loss(net, scenes.source, scenes.maps[rows], [targets[row] for row in rows.tolist()])
            if not loss.isfinite():
                raise ValueError(f"{doing}: the loss is {loss.item()}; are the maps finite?")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step, total = step + 1, total + float(loss.detach())
        history.append(total / len(batches))
    return history


def _target(boxes: np.ndarray, device: torch.device) -> dict[str, Tensor]:
    """What torchvision's detectors learn from: corners, and labels from 1."""
    place, x, y, width, height = torch.as_tensor(boxes, dtype=torch.float32, device=device).reshape(-1, 5).T
    return {"boxes": torch.stack([x, y, x + width, y + height], dim=1), "labels": place.long() + 1}


def _loss(net: nn.Module, source: DetectorMaps, maps: Tensor, targets: list[dict[str, Tensor]]) -> Tensor:
    levels, listed = _levels(net, source, maps)
    proposals, of_proposals = net.rpn(listed, levels, targets)
    _, of_boxes = net.roi_heads(levels, proposals, listed.image_sizes, targets)
    return sum((*of_proposals.values(), *of_boxes.values()))


def _levels(net: nn.Module, source: DetectorMaps, maps: Tensor) -> tuple[dict[str, Tensor], ImageList]:
    levels = net.backbone.joined(*source.unflattened(maps.to(runtime.device())))
    return levels, squares(levels, source.encoder.size)


@torch.inference_mode()
def detections(net: nn.Module, scenes: Scenes) -> Iterator[dict[str, Tensor]]:
    """Of each picture what the detector finds: boxes (n, 4) as corners, labels (n,) from 1, scores (n,)."""
    net = net.to(runtime.device()).eval()
    for maps in scenes.maps.split(BATCH):
        levels, listed = _levels(net, scenes.source, maps)
        proposals, _ = net.rpn(listed, levels)
        yield from net.roi_heads(levels, proposals, listed.image_sizes)[0]


def average_precision(found: Sequence[dict[str, Tensor]], boxes: Sequence[np.ndarray]) -> np.ndarray:
    """Per category COCO's average precision at an overlap of 0.5, by pycocotools; NaN where there is none.

    Args:
        found: Of each picture boxes as corners, labels from 1 and scores, see `detections`.
        boxes: Of each picture (n_objects, 5): place of the category, x, y, width, height.

    Returns:
        (n_categories,) float64, up to the highest category that is there; its mean is mAP@0.5.
    """
    objects = [(row, *one) for row, of_one in enumerate(boxes) for one in of_one.tolist()]
    n_of_each = np.bincount([int(place) for _, place, *_ in objects])
    known = COCO()
    known.dataset = {
        "images": [{"id": row} for row in range(len(boxes))],
        "categories": [{"id": place} for place in range(len(n_of_each))],
        "annotations": [
            {"id": 1 + k, "image_id": row, "category_id": int(place), "bbox": box, "area": box[2] * box[3],
             "iscrowd": 0}
            for k, (row, place, *box) in enumerate(objects)
        ],
    }  # fmt: skip
    results = [
        [row, *box[:2], box[2] - box[0], box[3] - box[1], score, label - 1]
        for row, one in enumerate(found)
        for box, score, label in zip(
            *(one[key].tolist() for key in ("boxes", "scores", "labels")), strict=True
        )
    ]
    if not results:  # pycocotools looks at the first
        return np.where(n_of_each > 0, 0.0, np.nan)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        known.createIndex()
        judged = COCOeval(known, known.loadRes(np.array(results)), "bbox")
        judged.evaluate()
        judged.accumulate()
    # Of (overlap, recall, category, size, number of boxes): overlap 0.5, all sizes, at most 100 boxes.
    precision = judged.eval["precision"][0, :, :, 0, 2]
    return np.where(n_of_each > 0, precision.mean(axis=0), np.nan)
