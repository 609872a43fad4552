"""What to try next: the campaign, its budget and its proposers."""
