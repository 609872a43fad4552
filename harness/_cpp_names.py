"""Names in C and C++ that a kernel has no business with, and the headers that it may include."""

from __future__ import annotations


def _reasons(table: dict[str, str]) -> dict[str, str]:
    """Reason by name, from names by reason."""
    return {name: why for why, names in table.items() for name in names.split()}


STARTS = "starts or controls processes or threads"
LOADS = "looks up or loads code that is not its own"
TALKS = "uses the network or other processes"
FILES = "uses files"
MEMORY = "changes memory mappings"
SIGNALS = "uses signals or jumps out of the call"
READS = "reads the process it runs in"
ENDS = "ends the process"

# Wherever they are named: nothing else is called so.
ANYWHERE = _reasons({
    STARTS: "popen pclose fork vfork execl execle execlp execv execve execvp execvpe execveat "
    "fexecve posix_spawn posix_spawnp wordexp prctl setrlimit prlimit clone3",
    LOADS: "dlopen dlmopen dlsym dlvsym dladdr dladdr1 dlinfo dl_iterate_phdr dlclose dlerror "
    "__builtin_apply syscall __syscall",
    TALKS: "ptrace process_vm_readv process_vm_writev socketpair getaddrinfo gethostbyname "
    "shmget shmat mkfifo sendmsg recvmsg sendto recvfrom",
    FILES: "fopen fopen64 freopen fdopen tmpfile mkstemp opendir readdir openat creat "
    "unlink rmdir chmod chown ftruncate memfd_create dprintf vdprintf close_range",
    MEMORY: "mmap mmap64 mremap munmap mprotect userfaultfd sbrk",
    SIGNALS: "setjmp _setjmp sigsetjmp __sigsetjmp longjmp siglongjmp sigaction sigaltstack "
    "__builtin_setjmp __builtin_longjmp setitimer timer_create tgkill sigqueue",
    READS: "getenv secure_getenv setenv putenv unsetenv clearenv environ __environ backtrace "
    "backtrace_symbols __builtin_return_address __builtin_frame_address getauxval "
    "program_invocation_name __libc_stack_end _DYNAMIC _GLOBAL_OFFSET_TABLE_",
    ENDS: "_exit _Exit quick_exit atexit at_quick_exit on_exit __cxa_atexit exit_group",
    "is machine code that this check cannot read": "asm __asm __asm__",
})  # fmt: skip

# Only where they are called: kernels use these words for their own things, too.
CALLED = _reasons({
    STARTS: "system clone daemon nice wait waitpid",
    TALKS: "socket connect bind listen accept send recv",
    FILES: "open close pipe pipe2 read write remove rename dup dup2 fcntl ioctl",
    SIGNALS: "signal kill raise alarm pause",
    ENDS: "exit",
})  # fmt: skip

# Patterns of how a name begins.
PREFIXES = {
    "pthread_": STARTS,
    "__gthread_": STARTS,
    "GOMP_": STARTS,
    "aoti_torch_": "calls PyTorch where nothing shows it",
    "thrd_": STARTS,
    "sched_": STARTS,
    "shm_": TALKS,
    "mq_open": TALKS,
    "inotify_": FILES,
    "epoll_": TALKS,
    "io_uring": TALKS,
    "_?Py[A-Z_]": READS,
    r"_Z[NKL]?\d": LOADS,
    "__libc_": LOADS,
}
NOTED_PREFIXES = {
    "omp_set_": "changes how later parallel regions run",
    "cblas_": "calls a library for the computation",
    "mkl_": "calls a library for the computation",
    "dnnl_": "calls a library for the computation",
}
STD = _reasons({
    STARTS: "thread jthread async",
    FILES: "filesystem ifstream ofstream fstream basic_fstream basic_ifstream basic_ofstream",
})  # fmt: skip

ATTRIBUTES = _reasons({
    "runs code when the library is loaded or closed": "constructor destructor init_priority",
    "takes another function's place": "weak weakref alias ifunc symver",
    "puts code or values where the loader finds them": "section",
})  # fmt: skip
PRAGMAS = _reasons({
    "takes another function's place": "weak redefine_extname",
    "runs code when the library is loaded or closed": "init fini",
})  # fmt: skip

OWN_HEADERS = frozenset({"prelude.h"})
# Beginnings of the headers that generated code, and an extension, may include as well.
GENERATED_HEADERS = ("torch/csrc/inductor/cpp_prefix.h",)
EXTENSION_HEADERS = ("torch/", "ATen/", "c10/", "pybind11/")

# In a source with such headers, whoever owns them.
HIDES = "calls PyTorch's operators where nothing shows it"
REACHES_PYTHON = "reaches into Python"
TORCH = _reasons({
    HIDES: "redispatch ExcludeDispatchKeyGuard IncludeDispatchKeyGuard AutoDispatchBelowAutograd "
    "AutoDispatchBelowADInplaceOrView AutoNonVariableTypeMode AutoDispatchSkipFunctionalize "
    "Dispatcher KernelFunction DispatchKeySet DispatchStub tls_set_dispatch_key_excluded "
    "PythonDispatcherTLS DisableTorchFunction",
    "takes another operator's place": "TORCH_LIBRARY_IMPL TORCH_LIBRARY_FRAGMENT registerFallback",
    "changes what others in the process use": "globalContext set_num_threads init_num_threads "
    "manual_seed set_default_dtype setFloat32MatmulPrecision",
    LOADS: "DynamicLibrary pickle_load pickle_save torch_jit_load",
    TALKS: "distributed rpc",
    REACHES_PYTHON: "PYBIND11_EMBEDDED_MODULE getGlobalPyInterpreter reinterpret_steal "
    "reinterpret_borrow THPVariable_Wrap THPVariable_Unpack",
})  # fmt: skip
NAMESPACES = frozenset({"native", "cpu", "_ops", "jit", "serialize", "dynamo", "inductor"})
BINDING = frozenset(
    "arg kwargs args call_guard gil_scoped_release return_value_policy none module_ module".split()
)
HEADERS = frozenset(
    """
    algorithm any array atomic bit bitset cassert cfenv cfloat charconv chrono cinttypes climits
    cmath compare complex concepts cstdarg cstddef cstdint cstdio cstdlib cstring deque exception
    execution expected experimental/simd forward_list functional initializer_list iostream iterator
    limits list map memory memory_resource mutex new numbers numeric optional ostream queue random
    ranges ratio set simd span sstream stack stdexcept stdfloat string string_view tuple type_traits
    unordered_map unordered_set utility valarray variant vector version
    assert.h complex.h fenv.h float.h inttypes.h limits.h math.h stdalign.h stdarg.h stdbool.h
    stddef.h stdint.h stdio.h stdlib.h string.h
    immintrin.h x86intrin.h xmmintrin.h emmintrin.h pmmintrin.h tmmintrin.h smmintrin.h nmmintrin.h
    wmmintrin.h avxintrin.h avx2intrin.h avx512fintrin.h fmaintrin.h f16cintrin.h mm_malloc.h
    arm_neon.h arm_sve.h arm_fp16.h arm_bf16.h arm_acle.h omp.h
    """.split()
)
