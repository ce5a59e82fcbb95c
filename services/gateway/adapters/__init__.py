"""What the gateway keeps outside the bus."""
