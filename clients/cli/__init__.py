"""The `machete` command."""
