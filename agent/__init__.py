"""What to try next.

`campaign` is the order of one run, `places` are where its kernels are judged,
`search` and `tune` try candidates, `proposers` have them, `llm` asks language
models through `providers`, `shortlist` orders what no clock could compare, and
`whole_model` proves the gain.  `commands` are what the command line calls, `bench`
measures Kernelite itself.
"""
