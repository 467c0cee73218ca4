"""From what is written for a cell to its checked configuration (`resolve`) and its id (`identity`)."""
