"""The folder that a changed run's processes have first on their path, for its sitecustomize.py."""
