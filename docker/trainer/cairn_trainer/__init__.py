"""Trains one stage of a landmark-retrieval network, scores it, and exports it to ONNX."""

PROTOCOL = 1
"""Protocol version of the configuration files and event lines."""
