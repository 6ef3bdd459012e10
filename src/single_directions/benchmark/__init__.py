"""What ``scripts/benchmark.py`` times.

Times mean little, ratios within one run do: everything runs in one process, methods take turns, medians are quoted.
"""
