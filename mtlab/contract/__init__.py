"""The contract that every manager passes, ours or a plug-in's."""
