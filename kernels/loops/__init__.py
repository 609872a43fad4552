"""From a flat graph to loop nests over rows and columns, whatever the language of the kernel.

Operators become tensor expressions (`aten`, `ir`), expressions nests (`nest`,
`axes`), and nests passes over their columns (`passes`), with what must be
finished before in `stages`.
"""
