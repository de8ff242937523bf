"""Augmentation: Siamese and differentiable, its kernels, and crops of a stream's own images."""
