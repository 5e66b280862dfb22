"""Reconstruction: the part as it would look without defects, by one-step denoising."""
