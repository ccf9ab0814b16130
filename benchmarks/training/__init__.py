"""A module, data and a recipe in, a history out."""
