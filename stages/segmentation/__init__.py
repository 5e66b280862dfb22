"""Segmentation: where image and reconstruction differ, and one score of it."""
