"""Merging methods: one file a method, a pure function and its registry entry."""
