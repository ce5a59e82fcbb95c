"""What the gateway decides, from facts alone."""
