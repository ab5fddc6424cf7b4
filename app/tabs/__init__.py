"""The tabs of the explorer: their components and listeners."""
