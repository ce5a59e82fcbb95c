"""Guides, records of decisions, and the reference that is generated from the code."""
