"""The HTTP front that every service shares: one app, guarded, measured, with errors of one shape."""
