"""Fetches a tool from Git, checks its manifest and makes its release."""
