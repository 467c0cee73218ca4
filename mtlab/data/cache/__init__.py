"""The expert cache: what frozen towers give for each text and image, computed once."""
