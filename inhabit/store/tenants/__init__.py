"""A home's stores: one for each tenant, in a folder of its own, and what is of the whole home."""
