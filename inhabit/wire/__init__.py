"""Isolate bytes ↔ values. Every frame from a worker is hostile; the only error that comes out is `ProtocolError`."""
