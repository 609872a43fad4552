// Math for generated C++ kernels: branch-free, so that g++ vectorises every loop that calls it.
//
// float functions err by about 2 units in the last place against the real function and pass
// NaN, infinities and signed zeros on as torch does; results below 1.2e-38 may become zero.
// double functions are the standard library's.  Polynomials: weighted least squares in double,
// reweighted towards the minimax solution.
#pragma once
#include <stdint.h>
#if defined(__GLIBCXX__)  // the C++ library takes 0.4 s of a build: only for sources that include it
#include <cmath>
#endif

#define KL_INLINE static inline __attribute__((always_inline))

constexpr float kl_inf = __builtin_inff();
constexpr float kl_nan = __builtin_nanf("");
constexpr float KL_ROUND = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer
constexpr float KL_LOG2E = 1.44269504f, KL_LN2_HIGH = 0.693145752f, KL_LN2_LOW = 1.42860677e-06f;

#define KL_FOR_BOTH(NAME, EXPRESSION)                      \
  KL_INLINE float NAME(float x) { return EXPRESSION; }     \
  KL_INLINE double NAME(double x) { return EXPRESSION; }

KL_INLINE float kl_abs(float x) { return __builtin_fabsf(x); }
KL_INLINE double kl_abs(double x) { return __builtin_fabs(x); }
template <class T> KL_INLINE T kl_abs(T x) { return x < 0 ? -x : x; }
KL_FOR_BOTH(kl_rsqrt, 1 / __builtin_sqrt(x))

KL_INLINE float kl_sqrt(float x) { return __builtin_sqrtf(x); }
KL_INLINE double kl_sqrt(double x) { return __builtin_sqrt(x); }

KL_FOR_BOTH(kl_floor, __builtin_floor(x))
KL_FOR_BOTH(kl_ceil, __builtin_ceil(x))
KL_FOR_BOTH(kl_trunc, __builtin_trunc(x))
KL_FOR_BOTH(kl_round, __builtin_nearbyint(x))
KL_INLINE float kl_pow(float x, float y) { return __builtin_powf(x, y); }
KL_INLINE double kl_pow(double x, double y) { return __builtin_pow(x, y); }

// NaN in either operand comes out, unlike std::max.
template <class T> KL_INLINE T kl_max(T a, T b) { return a > b || a != a ? a : b; }
template <class T> KL_INLINE T kl_min(T a, T b) { return a < b || a != a ? a : b; }

// exp(r) - 1 for |r| <= ln(2) / 2.
KL_INLINE float kl_exp_tail(float r) {
  float q = 0.00139517151f;
  q = q * r + 0.00836959854f;
  q = q * r + 0.0416661873f;
  q = q * r + 0.166665122f;
  q = q * r + 0.5f;
  return q * (r * r) + r;
}

KL_INLINE float kl_exp(float x) {
  const float shifted = x * KL_LOG2E + KL_ROUND;
  const float n = shifted - KL_ROUND;
  const float r = (x - n * KL_LN2_HIGH) - n * KL_LN2_LOW;
  const float p = 1.0f + kl_exp_tail(r);
  const int power = __builtin_bit_cast(int, shifted) << 23;
  const float scaled = __builtin_bit_cast(float, __builtin_bit_cast(int, p) + power);
  const float bounded = x < -87.3365402f ? 0.0f : scaled;
  return x <= 88.7228317f ? bounded : x * kl_inf;
}
KL_INLINE double kl_exp(double x) { return __builtin_exp(x); }

KL_INLINE float kl_expm1(float x) {
  const float shifted = x * KL_LOG2E + KL_ROUND;
  const float n = shifted - KL_ROUND;
  const float r = (x - n * KL_LN2_HIGH) - n * KL_LN2_LOW;
  const float power = __builtin_bit_cast(float, (__builtin_bit_cast(int, shifted) << 23) + 0x3f800000);
  const float value = power * kl_exp_tail(r) + (power - 1.0f);
  const float bounded = x < -18.0f ? -1.0f : value;
  return x <= 87.0f ? bounded : kl_exp(x);
}
KL_INLINE double kl_expm1(double x) { return __builtin_expm1(x); }

KL_INLINE float kl_log(float x) {
  const bool small = x < 1.17549435e-38f;
  const int bits = __builtin_bit_cast(int, small ? x * 8388608.0f : x);
  const int exponent = (bits - 0x3f3504f3) >> 23;  // the mantissa lies in [sqrt(1/2), sqrt(2))
  const float f = __builtin_bit_cast(float, bits - (exponent << 23)) - 1.0f;
  const float e = static_cast<float>(exponent) - (small ? 23.0f : 0.0f);
  float q = 0.0674650967f;
  q = q * f - 0.1167963f;
  q = q * f + 0.118903518f;
  q = q * f - 0.124051414f;
  q = q * f + 0.142192215f;
  q = q * f - 0.166680068f;
  q = q * f + 0.200021341f;
  q = q * f - 0.250000089f;
  q = q * f + 0.333333135f;
  const float s = f * f;
  const float tail = q * f * s + e * KL_LN2_LOW - 0.5f * s;
  const float value = e * KL_LN2_HIGH + (f + tail);
  const float outside = x == 0.0f ? -kl_inf : kl_nan;
  return x > 0.0f ? (x < kl_inf ? value : x) : outside;
}
KL_INLINE double kl_log(double x) { return __builtin_log(x); }

KL_INLINE float kl_log1p(float x) {
  const float u = 1.0f + x;
  const float lost = x - (u - 1.0f);
  const float value = kl_log(u) + (lost == 0.0f ? 0.0f : lost / u);
  return x < kl_inf ? (x == 0.0f ? x : value) : x;
}
KL_INLINE double kl_log1p(double x) { return __builtin_log1p(x); }

KL_INLINE float kl_tanh(float x) {
  const float t = kl_abs(x), s = x * x;
  float q = -0.00590585079f;
  q = q * s + 0.0208053682f;
  q = q * s - 0.0537866801f;
  q = q * s + 0.133319587f;
  q = q * s - 0.333332986f;
  const float near = x + x * (s * q);
  const float far = 1.0f - 2.0f / (kl_exp(2.0f * t) + 1.0f);
  return t < 0.6f ? near : __builtin_copysignf(far, x);
}
KL_INLINE double kl_tanh(double x) { return __builtin_tanh(x); }

KL_INLINE float kl_erf(float x) {
  const float t = kl_abs(x), s = x * x;
  float q = 8.2154198e-05f;
  q = q * s - 0.000810596393f;
  q = q * s + 0.00519779697f;
  q = q * s - 0.0268581044f;
  q = q * s + 0.112836726f;
  q = q * s - 0.376126319f;
  q = q * s + 0.128379166f;
  float log_erfc = -2.09096743e-05f;
  log_erfc = log_erfc * t + 0.00043230431f;
  log_erfc = log_erfc * t - 0.00416053273f;
  log_erfc = log_erfc * t + 0.0250915121f;
  log_erfc = log_erfc * t - 0.108236641f;
  log_erfc = log_erfc * t - 0.633386612f;
  log_erfc = log_erfc * t - 1.12949514f;
  log_erfc = log_erfc * t + 0.000170553656f;
  const float far = __builtin_copysignf(1.0f - kl_exp(log_erfc), x);
  return t < 0.95f ? x + x * q : far;
}
KL_INLINE double kl_erf(double x) { return __builtin_erf(x); }

KL_FOR_BOTH(kl_sigmoid, 1 / (1 + kl_exp(-x)))
KL_FOR_BOTH(kl_silu, x / (1 + kl_exp(-x)))
// 0.5 * (1 + tanh(u)) is sigmoid(2 * u).
template <class T> KL_INLINE T kl_gelu_tanh(T x) {
  return x / (1 + kl_exp(x * (T(-1.5957691216057308) - T(0.07135481282966094) * (x * x))));
}

// x * Phi(x) from log(Phi(-|x|)): no cancellation for negative x, and no small-argument branch.
KL_INLINE float kl_gelu_erf(float x) {
  const float t = kl_abs(x);
  float q = -1.16217889e-08f;
  q = q * t + 3.76506335e-07f;
  q = q * t - 5.20480489e-06f;
  q = q * t + 3.8707487e-05f;
  q = q * t - 0.000143459416f;
  q = q * t - 0.00010718569f;
  q = q * t + 0.00494980253f;
  q = q * t - 0.036443159f;
  q = q * t - 0.318275839f;
  q = q * t - 0.797888637f;
  q = q * t - 0.693147123f;
  const float tail = kl_exp(q);
  return x * (x < 0.0f ? tail : 1.0f - tail);
}
KL_INLINE double kl_gelu_erf(double x) { return 0.5 * x * __builtin_erfc(-x * 0.70710678118654752440); }

// Radians to a quarter turn in [-pi/4, pi/4]; the double product keeps |x| < 2^30 exact enough.
KL_INLINE float kl_sin_from(float x, int quarter) {
  const double shifted = x * 0.63661977236758134308 + 6755399441055744.0;
  const double n = shifted - 6755399441055744.0;
  const float r = static_cast<float>((x - n * 1.57079632679489655800) - n * 6.12323399573676603587e-17);
  const int turn = static_cast<int>(n) + quarter;
  const float s = r * r;
  float sine = 2.71756426e-06f;
  sine = sine * s - 0.000198392561f;
  sine = sine * s + 0.00833332911f;
  sine = sine * s - 0.166666672f;
  sine = sine * s * r + r;
  float cosine = -2.7203302e-07f;
  cosine = cosine * s + 2.47994358e-05f;
  cosine = cosine * s - 0.00138888834f;
  cosine = cosine * s + 0.0416666679f;
  cosine = cosine * (s * s) + (1.0f - 0.5f * s);
  const float value = turn & 1 ? cosine : sine;
  return turn & 2 ? -value : value;
}
KL_INLINE float kl_sin(float x) { return kl_sin_from(x, 0); }
KL_INLINE float kl_cos(float x) { return kl_sin_from(x, 1); }
KL_INLINE double kl_sin(double x) { return __builtin_sin(x); }
KL_INLINE double kl_cos(double x) { return __builtin_cos(x); }

// W partial results to one by halving: as exact as a pairwise sum, and a handful of instructions.
template <int W, class T, class Join> KL_INLINE T kl_fold(T* lanes, Join join) {
  if constexpr (W > 1) {
#pragma omp simd
    for (int l = 0; l < W / 2; ++l) lanes[l] = join(lanes[l], lanes[l + W / 2]);
    return kl_fold<W / 2>(lanes, join);
  }
  return lanes[0];
}
template <class T, int W> KL_INLINE T kl_sum(T (&lanes)[W]) {
  return kl_fold<W>(lanes, [](T a, T b) { return a + b; });
}
template <class T, int W> KL_INLINE T kl_product(T (&lanes)[W]) {
  return kl_fold<W>(lanes, [](T a, T b) { return a * b; });
}
template <class T, int W> KL_INLINE T kl_highest(T (&lanes)[W]) {
  return kl_fold<W>(lanes, [](T a, T b) { return a > b ? a : b; });
}
template <class T, int W> KL_INLINE T kl_lowest(T (&lanes)[W]) {
  return kl_fold<W>(lanes, [](T a, T b) { return a < b ? a : b; });
}
template <class T, int W> KL_INLINE T kl_any(T (&lanes)[W]) {
  return kl_fold<W>(lanes, [](T a, T b) { return a | b; });
}
template <class T, int W> KL_INLINE T kl_all(T (&lanes)[W]) {
  return kl_fold<W>(lanes, [](T a, T b) { return a & b; });
}

// 16-bit floats as their bits; rounding to nearest even.
KL_INLINE float kl_from_bfloat16(uint16_t h) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(h) << 16);
}
KL_INLINE uint16_t kl_to_bfloat16(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>(x == x ? rounded : 0x7fc0u);
}

// Copies n values past the caches; kl_fence makes such copies visible to other threads.
KL_INLINE void kl_stream(float* __restrict to, const float* __restrict from, long n) {
  long i = 0;
#if defined(__AVX512F__)
  typedef float Vector __attribute__((vector_size(64), may_alias, aligned(4)));
  typedef float Aligned __attribute__((vector_size(64)));
  for (; i < n && (reinterpret_cast<uintptr_t>(to + i) & 63); ++i) to[i] = from[i];
  for (; i + 16 <= n; i += 16)
    __builtin_ia32_movntps512(to + i, (Aligned)*reinterpret_cast<const Vector*>(from + i));
#elif defined(__AVX__)
  typedef float Vector __attribute__((vector_size(32), may_alias, aligned(4)));
  typedef float Aligned __attribute__((vector_size(32)));
  for (; i < n && (reinterpret_cast<uintptr_t>(to + i) & 31); ++i) to[i] = from[i];
  for (; i + 8 <= n; i += 8)
    __builtin_ia32_movntps256(to + i, (Aligned)*reinterpret_cast<const Vector*>(from + i));
#endif
  for (; i < n; ++i) to[i] = from[i];
}
KL_INLINE void kl_fence() {
#if defined(__SSE2__)
  __builtin_ia32_sfence();
#endif
}
