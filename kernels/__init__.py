"""From source to a callable, and back into a model.

`kernel` is the record, `backends` build and load one, `templates` write them
from a traced graph (`cpp_templates`, `triton_templates`, on the ground of
`matching` and `loops`), `devices` say what the machine can do, `targets`
compile for GPUs that are not there, `patch` puts
winners into a model and takes them out again.
"""
