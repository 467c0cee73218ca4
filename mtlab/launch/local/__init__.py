"""Workers on this machine: started, or forked from a process that has imported torch."""
