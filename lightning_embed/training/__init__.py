"""How weights train: sharded or not, in which groups, from which start, and how far a run is."""
