"""Our own API: every method of `AnnotationQueues` as an operation, its arguments and answers as JSON; nothing of sockets."""
