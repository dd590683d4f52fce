"""Our own API over HTTP: the operations of `wire.v1`, who may ask for them, and how they are described."""
