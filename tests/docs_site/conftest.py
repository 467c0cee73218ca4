"""A browser for the pages of the site."""

from browser import chromium, visit  # noqa: F401 - fixtures
