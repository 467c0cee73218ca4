"""The card of a testbed: what a pair of towers, a world and a length of training can tell, from a study's runs."""
