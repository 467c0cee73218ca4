"""Pictures of four tiles, in which each question asks for something that another level of a tower knows best."""
