"""Waits on conditions."""

import time


def wait_until(condition, what: str, seconds: float = 40):
    """The condition's first true value; fails with `what` after a timeout."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f'not reached within {seconds} s: {what}')
