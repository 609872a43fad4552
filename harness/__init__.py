"""Is it right, and how fast.

`judge` decides and never runs candidate code; `runner` runs candidate code
and never knows what is expected of it; `stages` are the questions asked, in
order; `timer` compares.  Nothing here knows of a search or a language model.
"""
