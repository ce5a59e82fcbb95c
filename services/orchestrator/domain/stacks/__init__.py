"""Compose stacks: what is allowed, and what a release's Compose file becomes."""
