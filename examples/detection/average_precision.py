"""Mean average precision of detections, as detection libraries define it."""

import numpy as np


def mean_average_precision(scenes, classes, overlap=0.5):
    """Return the mean over classes of the area under precision by recall.

    Args:
        scenes: for each image, its detections (n, 6) of class, score and corners, and its boxes (m, 5) of
            class and corners.
        classes: the number of classes.
        overlap: intersection over union from which a detection finds a box.
    """
    return float(np.mean([_average_precision(scenes, kind, overlap) for kind in range(classes)]))


def _average_precision(scenes, kind, overlap):
    hits = []
    count = 0
    for detections, boxes in scenes:
        targets = boxes[boxes[:, 0] == kind, 1:]
        count += len(targets)
        hits += _match(detections[detections[:, 0] == kind, 1:], targets, overlap)
    hits.sort(reverse=True)
    found = np.cumsum([is_hit for _, is_hit in hits])
    precision = found / np.arange(1, len(hits) + 1)
    # Precision at a recall is the best at this recall or a higher one.
    best = np.maximum.accumulate(precision[::-1])[::-1]
    recall = np.concatenate([[0], found / count])
    return (np.diff(recall) * best).sum()


def _match(detections, targets, overlap):
    """Return for each detection its score and whether it is the first that finds its box."""
    free = np.ones(len(targets), bool)
    matched = []
    for score, *corners in detections[np.argsort(-detections[:, 0])].tolist():
        shares = _overlaps(np.array(corners), targets)
        best = shares.argmax() if len(shares) else -1
        is_hit = best >= 0 and shares[best] >= overlap and free[best]
        if is_hit:
            free[best] = False
        matched.append((score, bool(is_hit)))
    return matched


def _overlaps(corners, targets):
    sides = np.minimum(corners[2:], targets[:, 2:]) - np.maximum(corners[:2], targets[:, :2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    areas = (targets[:, 2:] - targets[:, :2]).prod(axis=1) + (corners[2:] - corners[:2]).prod()
    return shared / (areas - shared)
