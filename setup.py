"""The packages of the distribution; everything else about it stands in pyproject.toml."""

from setuptools import find_packages, setup

FOLDERS = {"regvq": "core", "regvq_app": "app", "regvq_train": "train"}
"""The installed packages and their folders in the source tree."""

setup(
    package_dir=FOLDERS,
    packages=[
        package
        for name, folder in FOLDERS.items()
        for package in (name, *(f"{name}.{inner}" for inner in find_packages(folder)))
    ],
    package_data={"regvq": ["py.typed"], "regvq_app": ["static/**/*"]},
)
