"""The small kernels whose speed is a ceiling: copying, reading, multiply-adding, nothing.

Each thread goes over its own part again and again inside one parallel region,
so that starting threads is not in the figure.  The empty asm keeps the
compiler from dropping a pass whose result the next one overwrites.
"""

SOURCE = r"""
// kernelite: {"entry": "touch", "args": ["in0", "out0", "i64: in0.numel"]}
#include <cstdint>
#include <omp.h>
#if defined(__AVX__)
#include <immintrin.h>
#endif
#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef float vec __attribute__((vector_size(kLanes * 4)));

static inline void stream(float* to, vec value) {
#if defined(__AVX512F__)
  _mm512_stream_ps(to, (__m512)value);
#elif defined(__AVX__)
  _mm256_stream_ps(to, (__m256)value);
#else
  *(vec*)to = value;
#endif
}

struct Part { int64_t begin, end; };
static inline Part part_of(int64_t n) {
  const int64_t step = n / omp_get_num_threads() / 128 * 128;
  return {omp_get_thread_num() * step, (omp_get_thread_num() + 1) * step};
}

extern "C" void copy_plain(float* to, const float* from, int64_t n, int64_t passes, int threads) {
#pragma omp parallel num_threads(threads)
  {
    const Part part = part_of(n);
    for (int64_t pass = 0; pass < passes; ++pass) {
#pragma GCC unroll 8
      for (int64_t i = part.begin; i < part.end; i += kLanes)
        *(vec*)(to + i) = *(const vec*)(from + i);
      asm volatile("" ::: "memory");
    }
  }
}

extern "C" void copy_streaming(float* to, const float* from, int64_t n, int64_t passes,
                               int threads) {
#pragma omp parallel num_threads(threads)
  {
    const Part part = part_of(n);
    for (int64_t pass = 0; pass < passes; ++pass) {
#pragma GCC unroll 8
      for (int64_t i = part.begin; i < part.end; i += kLanes)
        stream(to + i, *(const vec*)(from + i));
      asm volatile("" ::: "memory");
    }
#if defined(__AVX__)
    _mm_sfence();
#endif
  }
}

extern "C" void read_only(float* sums, const float* from, int64_t n, int64_t passes, int threads) {
#pragma omp parallel num_threads(threads)
  {
    const Part part = part_of(n);
    vec sum[8] = {};
    for (int64_t pass = 0; pass < passes; ++pass) {
      for (int64_t i = part.begin; i < part.end; i += 8 * kLanes)
#pragma GCC unroll 8
        for (int k = 0; k < 8; ++k) sum[k] += *(const vec*)(from + i + k * kLanes);
      asm volatile("" ::: "memory");
    }
    for (int k = 1; k < 8; ++k) sum[0] += sum[k];
    sums[omp_get_thread_num() * 16] = sum[0][0];
  }
}

extern "C" void multiply_add(float* sums, int64_t passes, int threads) {
#pragma omp parallel num_threads(threads)
  {
    vec scale = {}, shift = {}, sum[12];
    scale += 0.999f;
    shift += 0.001f;
    for (int k = 0; k < 12; ++k) sum[k] = shift * (float)k;
    asm volatile("" : "+m"(scale), "+m"(shift));
    for (int64_t pass = 0; pass < passes; ++pass)
#pragma GCC unroll 12
      for (int k = 0; k < 12; ++k) sum[k] = sum[k] * scale + shift;
    for (int k = 1; k < 12; ++k) sum[0] += sum[k];
    sums[omp_get_thread_num() * 16] = sum[0][0];
  }
}

extern "C" int multiply_add_flops() { return 12 * kLanes * 2; }

extern "C" void touch(const float* from, float* to, int64_t n) {
#pragma omp parallel for
  for (int64_t i = 0; i < n; ++i) to[i] = from[i];
}
"""
