"""What carries the installer's decisions out: Git, and folders to work in."""
