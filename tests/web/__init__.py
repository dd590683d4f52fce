"""The web app over real HTTP, also with the clients that are out there."""
