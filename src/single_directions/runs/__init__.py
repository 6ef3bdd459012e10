"""Runs: one network trained and measured as a configuration says, and the folder that holds what came out."""
