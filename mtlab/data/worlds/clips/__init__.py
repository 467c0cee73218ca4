"""Clip art with names from several sources: OpenMoji from PyPI, Open Clip Art and Tux Paint's stamps from Debian."""
