"""The one guarded door: it checks who asks for what, publishes commands, and passes questions on."""
