"""Differentiable Siamese augmentation and its kernels."""
