"""Managers that weigh all states below a cross-modal layer, the towers' levels and the outputs of the layers alike."""
