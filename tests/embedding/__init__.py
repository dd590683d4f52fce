"""The library inside other programs: web frameworks, serialisers, frames."""
