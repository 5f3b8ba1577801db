"""Engines and their jailed, killable workers. Knows no policy, no journal, no connector."""
