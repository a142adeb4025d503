"""Private and undocumented names of other libraries, one file for each library: what they are for, and what breaks without them.

Nothing else in the package uses such names (tests/compat holds that), so an upgrade that moves one is mended here alone.
"""
