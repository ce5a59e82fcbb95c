"""What the orchestrator decides, from facts alone; nothing here touches Docker, files or the bus."""
