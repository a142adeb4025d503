"""The package's version: part of what caches are named by, so that a new version reads none of an older one's."""

__version__ = "0.2.0"
