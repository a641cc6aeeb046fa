"""Sizes in bytes."""

GIB = 1 << 30
MIB = 1 << 20
