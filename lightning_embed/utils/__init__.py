"""What every room may use: whole files, hashes, notes, folders, wording."""
