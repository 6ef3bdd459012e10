"""Figures from tables, in one style: a module for each kind of figure, and `style`."""
