"""What MACHETE costs, measured against what a user would run instead."""
