"""A package, so that the platform which all its tests share ends with them."""
