"""Modules, functions and attributes of Python that a kernel has no business with."""

from __future__ import annotations

from kernelite.harness.finding import LEAVES


def _reasons(table: dict[str, str]) -> dict[str, str]:
    """Reason by name, from names by reason."""
    return {name: why for why, names in table.items() for name in names.split()}


LOOKS = "looks into the process that runs it"
STARTS = "starts or controls processes or threads"
TALKS = "uses the network or other processes"
FILES = "reads or writes files"
CODE = "makes, loads or replaces code"
CHANGES = "changes what others in the process use"

MODULES = _reasons({
    LOOKS: "gc inspect sys os posix traceback tracemalloc faulthandler linecache trace pdb bdb "
    "cProfile profile symtable dis resource platform psutil site sysconfig getpass pwd kernelite "
    "torch._dynamo.eval_frame torch.utils._python_dispatch torch.overrides torch._guards",
    STARTS: "subprocess threading _thread multiprocessing concurrent asyncio signal sched pty "
    "torch.multiprocessing torch.distributed joblib ray atexit",
    TALKS: "socket socketserver ssl http urllib ftplib smtplib requests httpx aiohttp torch.hub "
    "select selectors",
    FILES: "io pathlib shutil tempfile glob fileinput sqlite3 dbm shelve zipfile tarfile mmap "
    "fcntl torch.package torch.serialization",
    CODE: "ctypes _ctypes cffi importlib imp runpy pkgutil zipimport code codeop marshal pickle "
    "_pickle numpy.ctypeslib dill cloudpickle copyreg builtins unittest mock",
})  # fmt: skip
# Nothing to say about these and their submodules, if they are not above.
HARMLESS = frozenset(
    """
    __future__ abc array bisect cmath collections contextlib copy dataclasses decimal einops enum
    fractions functools heapq itertools logging math numbers numpy operator random re statistics
    string struct textwrap torch triton types typing typing_extensions warnings
    """.split()
)
NOTED_MODULES = {
    "torch._C": "goes below PyTorch's public interface",
    "time": "can tell how long things take",
    "torch.utils.cpp_extension": "compiles; only load_inline at the top of the file is built",
    "weakref": "can tell old inputs from new ones",
}

BUILTINS = _reasons({
    CODE: "exec eval compile __import__ __build_class__ __loader__ __spec__",
    CHANGES: "setattr delattr __builtins__",
    LOOKS: "globals locals vars breakpoint",
    FILES: "open",
})  # fmt: skip
ATTRIBUTES = _reasons({
    LOOKS: "_getframe _current_frames __globals__ __closure__ __dict__ __subclasses__ f_back "
    "f_globals f_locals f_builtins f_code tb_frame tb_next gi_frame gi_code cr_frame ag_frame "
    "__traceback__ __self__ __mro__ __bases__ __base__ cell_contents",
    CODE: "__code__ __builtins__ __import__ __loader__ __spec__ __getattribute__ __reduce__ "
    "__reduce_ex__ co_code load_library FunctionType CodeType",
    CHANGES: "settrace setprofile __setattr__ __delattr__ TorchFunctionMode TorchDispatchMode "
    "set_default_dtype set_default_device set_num_threads set_num_interop_threads "
    "set_default_tensor_type use_deterministic_algorithms set_float32_matmul_precision "
    "set_deterministic_debug_mode set_flush_denormal _DisableTorchDispatch "
    "_ExcludeDispatchKeyGuard _DisableFuncTorch _DisablePythonDispatcher DisableTorchFunction "
    "DisableTorchFunctionSubclass _unset_dispatch_mode _pop_mode _len_torch_dispatch_stack",
    FILES: "tofile fromfile from_file memmap",
})  # fmt: skip
# By full name, after aliases are resolved.
FUNCTIONS = _reasons({
    FILES: "torch.load torch.save torch.jit.load torch.jit.save numpy.load numpy.save numpy.savez "
    "numpy.savez_compressed numpy.loadtxt numpy.savetxt numpy.genfromtxt logging.FileHandler "
    "logging.basicConfig torch.export.save torch.export.load",
    CHANGES: "torch.library.Library torch.library.impl torch.library.register_kernel "
    "torch.fx.wrap",
})  # fmt: skip
DEFINED = {
    "__torch_function__": "intercepts PyTorch's operators",
    "__torch_dispatch__": "intercepts PyTorch's operators",
    "__del__": "runs after the call",
}
NOTED_ATTRIBUTES = {
    "data_ptr": "can tell old inputs from new ones",
    "attrgetter": "reads attributes that are named in a string",
    "_version": "can tell old inputs from new ones",
    "untyped_storage": "reaches memory beside the tensor's own elements",
    "as_strided": "reaches memory beside the tensor's own elements",
} | dict.fromkeys(
    (
        "numpy",
        "tolist",
        "item",
        "__array__",
        "__dlpack__",
        "to_dlpack",
        "from_dlpack",
        "asarray",
        "frombuffer",
        "__array_interface__",
    ),
    LEAVES,
)
