"""Tasks: what is asked of the pooled features of a text and an image."""
