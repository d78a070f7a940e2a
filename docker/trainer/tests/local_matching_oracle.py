"""LOCAL_MATCHING in plain NumPy and OpenCV, written from its description alone."""

import functools

import cv2
import numpy as np


@functools.lru_cache
def described(data: bytes, long_side: int):
    """The keypoints of an image file in its own pixels, and their descriptors."""
    grey = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2GRAY)
    height, width = grey.shape
    factor = long_side / max(height, width)
    resized = cv2.resize(grey, (round(width * factor), round(height * factor)))
    keypoints, descriptors = cv2.SIFT_create(1024).detectAndCompute(resized, None)
    ratio = np.array([width / resized.shape[1], height / resized.shape[0]])
    return [(np.array(point.pt) + 0.5) * ratio - 0.5 for point in keypoints], descriptors


def inliers_by_definition(first: bytes, second: bytes, long_side=800) -> int:
    """The inliers of two image files, by OpenCV's own reader and matcher."""
    (points, descriptors), (others, other_descriptors) = described(first, long_side), described(second, long_side)
    mutual = {(match.queryIdx, match.trainIdx) for match in cv2.BFMatcher(crossCheck=True).match(descriptors, other_descriptors)}
    pairs = [
        (points[best.queryIdx], others[best.trainIdx])
        for best, next_best in cv2.BFMatcher().knnMatch(descriptors, other_descriptors, k=2)
        if best.distance < 0.8 * next_best.distance and (best.queryIdx, best.trainIdx) in mutual
    ]
    if len(pairs) <= 4:
        return 0
    sides = [np.float32(side) for side in zip(*pairs, strict=True)]
    model, mask = cv2.findHomography(*sides, cv2.USAC_MAGSAC, 4.0, None, 1000, 0.99)
    if model is None:
        return 0
    # Degenerate: the inliers are, on average, within four pixels of a line.
    narrowest = min(np.linalg.eigvalsh(np.cov(side[mask.ravel() == 1].T, bias=True))[0] for side in sides)
    return int(mask.sum()) if narrowest > 4**2 else 0


def reordered(ids, similarities, inliers):
    """The ranking with its first `len(inliers)` images by sim + .15 min(inliers, 90) / 90."""
    count = len(inliers)
    sums = np.array(similarities[:count]) + 0.15 * np.minimum(inliers, 90) / 90
    order = np.argsort(-sums, kind='stable')
    return [ids[at] for at in order] + ids[count:], [*sums[order].tolist(), *similarities[count:]]
