"""Private names of other libraries that are used here, and nothing else: each with what it is for and what breaks without it."""
