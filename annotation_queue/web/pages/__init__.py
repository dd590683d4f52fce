"""The pages: a rater's page and a dashboard, rendered on the server (``create_app(pages=True)``).

They have no build step and fetch nothing from elsewhere: the templates, one script and one style sheet are in the package.
They call `AnnotationQueues` directly, below the path ``/pages``.
"""
