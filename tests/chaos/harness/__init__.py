"""Faults at random against a whole platform under load, and a judge: `python -m tests.chaos.harness`."""
