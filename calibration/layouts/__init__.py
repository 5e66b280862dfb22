"""Folders of images as public data sets lay them out: which image is for what, where masks lie."""
