"""What `make setup` does: dependencies, a Docker Engine, and the images that examples and tests stand on.

Everything here runs before the dependencies are there, so it uses the standard library only. Each step looks
first whether its work is done: set-up can be repeated, also after it was killed half-way.
"""
