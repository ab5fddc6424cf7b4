"""Recipes at the papers' own scale, for large GPUs.

None of them was run to its end by this project. Each docstring gives the published figure that the
recipe aims at, the source of its settings, and the settings that are inferred because no source
states them. The networks are those with which the published figures were made
(``core.networks.vqgan``): VQ-GAN's for Reg-VQ, its baselines and imagenet256-vq, SimVQ's for SimVQ,
NSVQ (whose paper names no other one: INFERRED) and imagenet128-vq. Our choice throughout: the
perceptual loss compares VGG-19 features without LPIPS's learned weights; the discriminator's
GroupNorm has 16 channels per group; the gradient's norm is clipped at 1; weights are averaged.
"""
