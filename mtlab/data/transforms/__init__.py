"""Image transforms by name: the published pipelines, as functions of an image and a source of random numbers."""
