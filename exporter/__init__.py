"""Health-probe exporter for a Spring Boot fleet and the servers it depends on."""

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    """Find the version when it is asked for (PEP 562): reading a package's metadata takes as long as starting Python."""
    if name != "__version__":
        raise AttributeError(name)
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - see above

    try:
        return version("hafnium-exporter")
    except PackageNotFoundError:  # run from a tree that was never installed
        return "0+unknown"
