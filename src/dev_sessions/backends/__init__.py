"""The kinds of agents behind one interface."""
