"""What the installer decides, from texts and trees alone; nothing here touches Git, files or the bus."""
