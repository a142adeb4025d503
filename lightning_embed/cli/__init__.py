"""The command line: a parser and `run` for each command; what a command does is a function of another room."""
