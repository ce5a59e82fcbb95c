"""How the gateway's database came to be as it is, step by step. What stands in it is never thrown away."""

# The newest step. A gateway that finds it in the database looks no further.
HEAD = "0001"
