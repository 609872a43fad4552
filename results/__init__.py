"""What came out: the event log, its projections and the reports made of them."""
