"""Managers and bridges: how a cross-modal layer draws on the uni-modal experts, one variant a file."""
