"""How long graphs live and how far they reach: what piles up, is carried on, or is walked where it should not be."""
