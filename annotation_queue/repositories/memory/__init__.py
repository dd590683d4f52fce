"""Items in memory: indexed, not scanned."""

from annotation_queue.repositories.memory.repository import MemoryRepository

__all__ = ["MemoryRepository"]
