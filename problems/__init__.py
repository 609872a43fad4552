"""What to compute, and where it comes from.

`problem` is the reference that everything else is judged against, `target`
finds it in a user's file, `graph` traces it, `regions` and `capture` cut a
whole model into problems, `profile` and `cost` say where time can be won.
Nothing here knows how a kernel is written or judged.
"""
