"""What shows a launch while it goes on: on a terminal, line by line, and in notebooks."""
