"""Every exception that this package raises.

A kernel that fails is not an exception: it is a `Failed` value.  These are for
the operator's mistakes and for the machine's faults.

    KerneliteError
    ├── UsageError      what was asked cannot be done          exit code 2
    └── MachineError    compiler, device, disk or dependency    exit code 3
"""


class KerneliteError(Exception):
    """Base of all of them; its text is one line that a person can act on."""


class UsageError(KerneliteError):
    """The operator asked for something that cannot be done."""


class MachineError(KerneliteError):
    """The compiler, the device, the disk or a dependency failed; no kernel's fault."""
