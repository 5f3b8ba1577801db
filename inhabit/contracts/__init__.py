"""The shapes that rooms share, and the protocols behind which implementations stand. No behaviour, no I/O."""
