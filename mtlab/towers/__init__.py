"""Uni-modal towers: pre-trained alone, each of their levels an expert."""
