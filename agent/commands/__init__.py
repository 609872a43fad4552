"""Commands with options of their own kind; `cli` puts them together."""
