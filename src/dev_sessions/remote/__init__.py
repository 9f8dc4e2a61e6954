"""Sessions on other machines, over ssh."""
