"""The published APIs over HTTP: an ASGI app for any backend to mount."""

from annotation_queue.web.access import Action, Authenticate, Authorize, Credentials, Principal
from annotation_queue.web.app import create_app

__all__ = ["Action", "Authenticate", "Authorize", "Credentials", "Principal", "create_app"]
