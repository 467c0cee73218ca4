"""Import, export and verify published checkpoints: METER, BridgeTower, ManagerTower, Hugging Face's BridgeTower."""
