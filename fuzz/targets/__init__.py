"""The targets, a file for each kind of peer, so that a process which fuzzes one imports no more than it needs."""
