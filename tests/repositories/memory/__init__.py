"""MemoryRepository from inside: its indexes, beside scans."""
