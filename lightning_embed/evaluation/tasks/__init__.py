"""Tasks: mteb's and those made of a user's files, encoded once and scored in every size and precision."""
