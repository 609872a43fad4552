"""Asking language models: what is asked, what it costs, and what of the answer is code.

Providers, one file each, are in `agent.providers`.  Nothing here is trusted by
the judge: an answer is a text, and a kernel taken from it is judged like any other.
"""
