// Queries in the lanes of vectors: each number of K and V is broadcast once per group.
// lead_of_q() and its kin come from the generated text before this one.

constexpr int BROADCASTS = smaller((REGISTERS - 1 - VECTORS) / VECTORS, 12);

// Calls f<count>(start) until TOTAL is done, at most MOST at a time.
template <int TOTAL, int MOST, class F> KL_INLINE void in_blocks(F f) {
  constexpr int SIZE = ceil_div(TOTAL, ceil_div(TOTAL, MOST));
  for (int start = 0; start + SIZE <= TOTAL; start += SIZE) f.template operator()<SIZE>(start);
  if constexpr (TOTAL % SIZE) f.template operator()<TOTAL % SIZE>(TOTAL - TOTAL % SIZE);
}

struct alignas(64) Queries : Group {
  float query[DK][WIDTH], output[DV][WIDTH];
};

static void pack(Queries& group, const float* q) {
  __builtin_memset(group.output, 0, sizeof group.output);
  for (int i = 0; i < WIDTH; i += LANES) {
    const float* from[LANES];
    for (int l = 0; l < LANES; ++l)
      from[l] = q + lead_of_q(group.lead[i + l]) + group.position[i + l] * Q_ROW;
    int d = 0;
    for (; Q_COLUMN == 1 && d + LANES <= DK; d += LANES) {
      Lanes rows[LANES];
#pragma GCC unroll 16
      for (int l = 0; l < LANES; ++l) rows[l] = load(from[l] + d) * SCALE;
      transpose(rows);
#pragma GCC unroll 16
      for (int l = 0; l < LANES; ++l) store(&group.query[d + l][i], rows[l]);
    }
    for (; d < DK; ++d)
      for (int l = 0; l < LANES; ++l) group.query[d][i + l] = from[l][d * Q_COLUMN] * SCALE;
  }
}

static void finish(Queries& group, float* out, int first_row) {
  float inverse[WIDTH];
  for (int i = 0; i < WIDTH; ++i) inverse[i] = share(group, i);
  for (int i = 0; i < WIDTH; i += LANES) {
    float* to[LANES];
    for (int l = 0; l < LANES; ++l)
      to[l] = out + lead_of_out(group.lead[i + l]) + group.position[i + l] * OUT_ROW;
    const int count = smaller(LANES, ROWS - first_row - i);
    int d = 0;
    for (; OUT_COLUMN == 1 && d + LANES <= DV; d += LANES) {
      Lanes rows[LANES];
#pragma GCC unroll 16
      for (int l = 0; l < LANES; ++l) rows[l] = load(&group.output[d + l][i]) * load(&inverse[i]);
      transpose(rows);
#pragma GCC unroll 16
      for (int l = 0; l < LANES; ++l)
        if (l < count) store(to[l] + d, rows[l]);
    }
    for (; d < DV; ++d)
      for (int l = 0; l < count; ++l)
        to[l][d * OUT_COLUMN] = group.output[d][i + l] * inverse[i + l];
  }
}

template <int COUNT>
KL_INLINE void score_block(const Queries& group, const float* k, float (*score)[WIDTH]) {
  Lanes sum[COUNT][VECTORS] = {};
  for (long d = 0; d < DK; ++d) {
#pragma GCC unroll 16
    for (int key = 0; key < COUNT; ++key) {
      const float number = k[key * K_ROW + d * K_COLUMN];
#pragma GCC unroll 8
      for (int n = 0; n < VECTORS; ++n)
        sum[key][n] += number * load(&group.query[d][n * LANES]);
    }
  }
#pragma GCC unroll 16
  for (int key = 0; key < COUNT; ++key)
#pragma GCC unroll 8
    for (int n = 0; n < VECTORS; ++n) store(&score[key][n * LANES], sum[key][n]);
}

template <int COUNT, int TILE>
KL_INLINE void value_block(Queries& group, const float* v, const float (*weight)[WIDTH], int first) {
  Lanes sum[COUNT][VECTORS];
#pragma GCC unroll 16
  for (int d = 0; d < COUNT; ++d)
#pragma GCC unroll 8
    for (int n = 0; n < VECTORS; ++n)
      sum[d][n] = load(&group.output[first + d][n * LANES]) * load(&group.shrink[n * LANES]);
  for (long key = 0; key < TILE; ++key) {
#pragma GCC unroll 16
    for (int d = 0; d < COUNT; ++d) {
      const float number = v[key * V_ROW + (first + d) * V_COLUMN];
#pragma GCC unroll 8
      for (int n = 0; n < VECTORS; ++n) sum[d][n] += number * load(&weight[key][n * LANES]);
    }
  }
#pragma GCC unroll 16
  for (int d = 0; d < COUNT; ++d)
#pragma GCC unroll 8
    for (int n = 0; n < VECTORS; ++n) store(&group.output[first + d][n * LANES], sum[d][n]);
}

template <int TILE>
KL_INLINE void multiply_keys(const Queries& group, const float* k, float (*score)[WIDTH]) {
  in_blocks<TILE, BROADCASTS>(
      [&]<int COUNT>(int key) { score_block<COUNT>(group, k + key * K_ROW, score + key); });
}

template <int TILE>
KL_INLINE void add_values(Queries& group, const float* v, const float (*weight)[WIDTH]) {
  in_blocks<DV, BROADCASTS>(
      [&]<int COUNT>(int d) { value_block<COUNT, TILE>(group, v, weight, d); });
}
