"""Where queues are stored."""
