"""What the storages that speak SQL share."""
