"""The behavior of a codebook, as arrays for an app or a notebook to draw."""
