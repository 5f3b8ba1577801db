"""What was recorded stays provable: a Merkle log over the journal, signed checkpoints, and their verifier."""
