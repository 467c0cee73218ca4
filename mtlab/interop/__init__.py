"""Published checkpoints in and out: METER, BridgeTower, ManagerTower, and Hugging Face's BridgeTower."""
