"""The version of profkit."""

__version__ = "0.1.0"
