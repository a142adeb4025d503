"""The teacher store: vectors on disk by the content of their texts, in shards, and the lookup that training reads them by."""
