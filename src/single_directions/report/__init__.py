"""The report: what runs say about each experiment, as a page and as a folder of Markdown."""
