"""Is it right, and how fast.

`judge` decides and never runs candidate code; `runner` runs candidate code
and never knows what is expected of it; `stages` are the questions asked, in
order; `timer` compares; `cage` is what holds a runner, `processors` and
`placement` where it runs.  `crosscompile` describes a kernel for a GPU that is
not here, `kernel_profile` one on a GPU that is.  Nothing here
knows of a search or a language model.
"""
