// So few queries that vectors run along the columns of K and V instead.
// lead_of_q() and its kin come from the generated text before this one.

typedef float Wide __attribute__((vector_size(4 * NATIVE_LANES), may_alias));
constexpr int COUNT = smaller(WIDTH, ROWS);
constexpr int WHOLE_K = DK / NATIVE_LANES * NATIVE_LANES, WHOLE_V = DV / NATIVE_LANES * NATIVE_LANES;

struct alignas(64) Queries : Group {
  float query[COUNT][DK], output[COUNT][DV];
};

KL_INLINE Wide load_wide(const float* from) {
  Wide value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

KL_INLINE float sum_lanes(Wide value) {
  float lane[NATIVE_LANES];
  __builtin_memcpy(lane, &value, sizeof value);
#pragma GCC unroll 8
  for (int half = NATIVE_LANES / 2; half; half /= 2)
#pragma GCC unroll 8
    for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
  return lane[0];
}

static void pack(Queries& group, const float* q) {
  __builtin_memset(group.output, 0, sizeof group.output);
  for (int i = 0; i < COUNT; ++i) {
    const float* from = q + lead_of_q(group.lead[i]) + group.position[i] * Q_ROW;
    for (int d = 0; d < DK; ++d) group.query[i][d] = from[d * Q_COLUMN] * SCALE;
  }
}

static void finish(const Queries& group, float* out, int) {
  for (int i = 0; i < COUNT; ++i) {
    float* to = out + lead_of_out(group.lead[i]) + group.position[i] * OUT_ROW;
    const float inverse = share(group, i);
    for (int d = 0; d < DV; ++d) to[d * OUT_COLUMN] = group.output[i][d] * inverse;
  }
}

template <int TILE>
KL_INLINE void multiply_keys(const Queries& group, const float* k, float (*score)[WIDTH]) {
  for (int key = 0; key < TILE; ++key) {
    const float* row = k + key * K_ROW;
    Wide sum[COUNT] = {};
    for (int d = 0; d < WHOLE_K; d += NATIVE_LANES) {
      const Wide number = load_wide(row + d);
#pragma GCC unroll 4
      for (int i = 0; i < COUNT; ++i) sum[i] += number * load_wide(&group.query[i][d]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < COUNT; ++i) {
      float tail = 0;
      for (int d = WHOLE_K; d < DK; ++d) tail += row[d] * group.query[i][d];
      score[key][i] = sum_lanes(sum[i]) + tail;
    }
    for (int i = COUNT; i < WIDTH; ++i) score[key][i] = 0;
  }
}

template <int TILE>
KL_INLINE void add_values(Queries& group, const float* v, const float (*weight)[WIDTH]) {
  for (int d = 0; d < WHOLE_V; d += NATIVE_LANES) {
    Wide sum[COUNT];
#pragma GCC unroll 4
    for (int i = 0; i < COUNT; ++i) sum[i] = load_wide(&group.output[i][d]) * group.shrink[i];
    for (int key = 0; key < TILE; ++key) {
      const Wide number = load_wide(v + key * V_ROW + d);
#pragma GCC unroll 4
      for (int i = 0; i < COUNT; ++i) sum[i] += number * weight[key][i];
    }
#pragma GCC unroll 4
    for (int i = 0; i < COUNT; ++i) __builtin_memcpy(&group.output[i][d], &sum[i], sizeof(Wide));
  }
  for (int d = WHOLE_V; d < DV; ++d)
    for (int i = 0; i < COUNT; ++i) {
      float sum = group.output[i][d] * group.shrink[i];
      for (int key = 0; key < TILE; ++key) sum += v[key * V_ROW + d] * weight[key][i];
      group.output[i][d] = sum;
    }
}
