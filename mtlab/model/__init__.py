"""The model: projection of levels, cross-modal encoder, the whole network, and the context of a forward pass."""
