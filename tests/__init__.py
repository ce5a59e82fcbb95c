"""Tests, by what they test. Folders whose fixtures end with them are packages."""
