"""Every sentence of the paper that can be judged, and what the runs say of it.

Each file holds a figure's claims; `claim.py` the rule that turns numbers into a verdict.
"""

from single_directions.report.claims.judge import as_text, judge, write_claims

__all__ = ["as_text", "judge", "write_claims"]
