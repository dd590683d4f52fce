"""A small sample to try the command line on: reviews of a support assistant, and a labeler for them."""
