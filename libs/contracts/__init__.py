"""Every message, subject, stream and permission of MACHETE: pydantic only, no I/O."""
