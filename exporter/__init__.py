"""Health-probe exporter for a Spring Boot fleet and the servers it depends on."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("hafnium-exporter")
except PackageNotFoundError:  # run from a tree that was never installed
    __version__ = "0+unknown"
