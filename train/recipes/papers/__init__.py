"""Recipes at the papers' own scale, for large GPUs.

None of them was run to its end by this project. Each docstring gives the published figure that the
recipe aims at, the source of its settings, and the settings that are inferred because no source
states them. Our choice throughout: the perceptual loss compares VGG-19 features without LPIPS's
learned weights; networks have no middle blocks, and one attention layer where VQ-GAN has several;
GroupNorm has 16 channels per group, in the discriminator too; the gradient's norm is clipped at 1;
weights are averaged.
"""
