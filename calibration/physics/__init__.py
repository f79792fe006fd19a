"""Nuclides, attenuation, activities and their uncertainty: what is true whatever the instrument."""
