"""The version of this MACHETE, as it was installed."""

from importlib.metadata import version

VERSION = version("machete")
