"""Managers that join levels once, in front of the first cross-modal layer, as the connectors of language models do."""
