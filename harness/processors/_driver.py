"""The clock of a GPU, through the C interface of CUDA's driver.

Its functions are looked up before a candidate is loaded and belong to none of PyTorch's classes,
so who replaces ``torch.cuda.Event.elapsed_time`` or ``torch.cuda.synchronize`` changes nothing
here.  Names and types are those of cuda.h; they have been the same since CUDA 4.
"""

from __future__ import annotations

import ctypes
from typing import Any

LIBRARY = "libcuda.so.1"
BUS_ID_BYTES = 32
NS_PER_MS = 1e6

HANDLE = ctypes.c_void_p
TYPES: dict[str, tuple[Any, ...]] = {
    "cuCtxGetDevice": (ctypes.POINTER(ctypes.c_int),),
    "cuCtxSynchronize": (),
    "cuDeviceGetPCIBusId": (ctypes.c_char_p, ctypes.c_int, ctypes.c_int),
    "cuEventCreate": (ctypes.POINTER(HANDLE), ctypes.c_uint),
    "cuEventElapsedTime": (ctypes.POINTER(ctypes.c_float), HANDLE, HANDLE),
    "cuEventRecord": (HANDLE, HANDLE),
}


class Driver:
    """The driver's functions, each checked.

    Args:
        library: Where they are.

    Raises:
        OSError: there is no driver.
        AttributeError: it is none that we know.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        opened = ctypes.CDLL(library)
        self._functions = {name: getattr(opened, name) for name in TYPES}
        for name, function in self._functions.items():
            function.argtypes, function.restype = TYPES[name], ctypes.c_int

    def call(self, name: str, *arguments: Any) -> None:
        """One call.

        Raises:
            RuntimeError: it failed; the number is a ``CUresult`` of cuda.h.
        """
        if failed := self._functions[name](*arguments):
            raise RuntimeError(f"CUDA error {failed} in {name}")

    def bus_id(self) -> str:
        """Where the current device is on the PCI bus, as NVML wants to be told."""
        number, text = ctypes.c_int(), ctypes.create_string_buffer(BUS_ID_BYTES)
        self.call("cuCtxGetDevice", ctypes.byref(number))
        self.call("cuDeviceGetPCIBusId", text, BUS_ID_BYTES, number)
        return text.value.decode()


class Marks:
    """Moments on the GPU's own clock, set in the default stream."""

    def __init__(self, driver: Driver, count: int) -> None:
        self.driver = driver
        self.events = [HANDLE() for _ in range(count)]
        for event in self.events:
            driver.call("cuEventCreate", ctypes.byref(event), 0)

    def set(self, index: int) -> None:
        """The moment at which all that was given to the stream so far is done."""
        self.driver.call("cuEventRecord", self.events[index], None)

    def wait(self) -> None:
        """Wait for the whole device: for work on whichever stream."""
        self.driver.call("cuCtxSynchronize")

    def ns(self, first: int, last: int) -> int:
        """From one moment to another, both past; in steps of about half a microsecond."""
        elapsed_ms = ctypes.c_float()
        ends = self.events[first], self.events[last]
        self.driver.call("cuEventElapsedTime", ctypes.byref(elapsed_ms), *ends)
        return round(elapsed_ms.value * NS_PER_MS)
