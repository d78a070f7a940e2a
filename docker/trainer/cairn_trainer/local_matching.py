"""How many points of two images fit one homography: the images as matchers see them, and the robust estimate."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from cairn_trainer.config import MatchingSettings
from cairn_trainer.decoding import decode_rgb
from cairn_trainer.matchers import Grey, Matcher, Points, Prepared

_FEWEST_MATCHES = 5
"""Four matches fit a homography always."""


class MatchedImage(NamedTuple):
    """An image prepared for a matcher, with its original pixels per pixel of the resized image, in x and in y."""

    prepared: Prepared
    scale: tuple[float, float]

    def original(self, points: Points) -> Points:
        """Points of the resized image in original pixels: as for `cv2.resize`, a pixel's centre is at half of its size."""
        return ((points + 0.5) * self.scale - 0.5).astype(np.float32)


def prepare_image(data: bytes, matcher: Matcher, long_side: int) -> MatchedImage:
    """An image file's bytes, upright and grey, with its longer side of `long_side` pixels, whether it is larger or smaller.

    Raises:
        BadImageError: the bytes are not a complete image.
    """
    grey = cv2.cvtColor(decode_rgb(data, fills_truncated=False), cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    factor = long_side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    resized: Grey = cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR)
    return MatchedImage(matcher.prepare(resized), (width / size[0], height / size[1]))


def inliers_of(first: MatchedImage, second: MatchedImage, matcher: Matcher, settings: MatchingSettings) -> int:
    """The matches of two images that fit one homography."""
    points, others = matcher.match(first.prepared, second.prepared)
    return count_inliers(first.original(points), second.original(others), settings)


def count_inliers(first: Points, second: Points, settings: MatchingSettings) -> int:
    """The points [N, 2] of one image that a homography maps to those of the other, within `ransac_pixels`; 0 without a homography.

    MAGSAC++ (Barath et al. 2020) is, like degensac, a RANSAC that optimises good models locally and rejects degenerate samples. OpenCV
    seeds it with a constant: the same points give the same number.
    """
    if len(first) < _FEWEST_MATCHES:
        return 0
    threshold, iterations, confidence = settings.ransac_pixels, settings.iterations, settings.confidence
    model, mask = cv2.findHomography(first, second, cv2.USAC_MAGSAC, threshold, None, iterations, confidence)
    if model is None or not np.isfinite(model).all():
        return 0
    fitting = mask.ravel() != 0
    return int(fitting.sum()) if all(_spans_plane(points[fitting], threshold) for points in (first, second)) else 0


def _spans_plane(points: Points, threshold: float) -> bool:
    """Whether the points' mean distance (root of the mean square) from every line is above the threshold.

    Otherwise the model is degenerate: any number of points fits one that maps a picture to a line or a point, within the threshold.
    """
    spread = np.linalg.svd(points.astype(np.float64) - points.mean(axis=0), compute_uv=False)
    return bool(spread[1] > threshold * np.sqrt(len(points)))
