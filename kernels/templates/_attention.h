// Online-softmax attention with queries in the lanes of vectors: K and V are read in place, each
// number broadcast once per group of queries, so that neither is packed.  lead_of_q() and its
// kin, read_masks() and adjust() come from the generated text before this one.

// Calls f<count>(start) until TOTAL is done, at most MOST at a time.
template <int TOTAL, int MOST, class F> KL_INLINE void in_blocks(F f) {
  constexpr int SIZE = ceil_div(TOTAL, ceil_div(TOTAL, MOST));
  for (int start = 0; start + SIZE <= TOTAL; start += SIZE) f.template operator()<SIZE>(start);
  if constexpr (TOTAL % SIZE) f.template operator()<TOTAL % SIZE>(TOTAL - TOTAL % SIZE);
}

static void begin(Group& group, const float* q, long key_lead, int first_row) {
  group.first_position = TQ;
  group.last_position = 0;
  for (int i = 0; i < WIDTH; ++i) {
    const int row = smaller(first_row + i, ROWS - 1), position = row % TQ;
    group.lead[i] = key_lead * GROUP + row / TQ;
    group.position[i] = position;
    group.first_position = smaller(position, group.first_position);
    group.last_position = -smaller(-position, -group.last_position);
    group.top[i] = -kl_inf;
    group.total[i] = 0;
  }
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

static void finish(Group& group, float* out, int first_row) {
  float inverse[WIDTH];
  for (int i = 0; i < WIDTH; ++i)
    inverse[i] = HIDDEN_ROWS_ARE_ZERO && group.total[i] == 0 ? 0.0f : OUT_SCALE / group.total[i];
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
KL_INLINE void score_block(const Group& group, const float* k, float (*score)[WIDTH]) {
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
KL_INLINE void value_block(Group& group, const float* v, const float (*weight)[WIDTH], int first) {
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

// Scores become weights relative to the new maximum; `shrink` rescales what was summed before.
template <int TILE> static void soften(Group& group, float (*score)[WIDTH]) {
  alignas(64) float top[WIDTH], base[WIDTH], sum[WIDTH] = {};
  for (int i = 0; i < WIDTH; ++i) top[i] = group.top[i];
  for (int key = 0; key < TILE; ++key)
    for (int i = 0; i < WIDTH; ++i) top[i] = score[key][i] > top[i] ? score[key][i] : top[i];
  for (int i = 0; i < WIDTH; ++i) {
    base[i] = top[i] == -kl_inf ? 0.0f : top[i];  // nothing seen yet: exp(-inf - 0) = 0
    group.shrink[i] = kl_exp(group.top[i] - base[i]);
    group.top[i] = top[i];
  }
  for (int key = 0; key < TILE; ++key)
    for (int i = 0; i < WIDTH; ++i) {
      score[key][i] = kl_exp(score[key][i] - base[i]);
      sum[i] += score[key][i];
    }
  for (int i = 0; i < WIDTH; ++i) group.total[i] = group.total[i] * group.shrink[i] + sum[i];
}

template <int TILE>
static void attend(Group& group, const float* k, const float* v, const Masks& masks,
                   int first_key) {
  const int nearest = first_key - group.last_position;
  const int farthest = first_key + TILE - 1 - group.first_position;
  if (HIDES_BAND && (nearest > HIGH || farthest < LOW)) return;
  alignas(64) float score[TILE][WIDTH];
  alignas(64) float bias[MASKS ? MASKS : 1][TILE][WIDTH];
  const Seen seen = read_masks<TILE>(group, masks, first_key, bias);
  if (seen == HIDDEN) return;
  in_blocks<TILE, BROADCASTS>([&]<int COUNT>(int key) {
    score_block<COUNT>(group, k + key * K_ROW, score + key);
  });
  const bool edge = HIDES_BAND && (farthest > HIGH || nearest < LOW);
  if (ALWAYS_ADJUSTS || edge || seen == MIXED)
    for (int key = 0; key < TILE; ++key)
      for (int i = 0; i < WIDTH; ++i)
        score[key][i] = adjust(score[key][i], first_key + key - group.position[i],
                               &bias[0][key][i], TILE * WIDTH);
  soften<TILE>(group, score);
  in_blocks<DV, BROADCASTS>(
      [&]<int COUNT>(int d) { value_block<COUNT, TILE>(group, v, score, d); });
}

static void compute(const float* q, const float* k, const float* v, float* out,
                    const Masks& masks, long key_lead, int block) {
  Group groups[GROUPS];
  int low = TK, high = 0;  // the keys that some query of the block may see
  for (int g = 0; g < GROUPS; ++g) {
    begin(groups[g], q, key_lead, block * BLOCK + g * WIDTH);
    low = smaller(low, groups[g].first_position + LOW);
    high = -smaller(-high, -(groups[g].last_position + HIGH + 1));
  }
  const int from = HIDES_BAND && low > 0 ? low / KEYS * KEYS : 0;
  const int until = HIDES_BAND ? smaller(high, TK) : TK;
  const float *keys = k + lead_of_k(key_lead * GROUP), *values = v + lead_of_v(key_lead * GROUP);
  for (int key = from; key < until; key += KEYS) {
    const float *here = keys + key * K_ROW, *there = values + key * V_ROW;
    for (int g = 0; g < GROUPS; ++g) {
      if (key + KEYS <= TK)
        attend<KEYS>(groups[g], here, there, masks, key);
      else if constexpr (TK % KEYS != 0)
        attend<TK % KEYS>(groups[g], here, there, masks, key);
    }
  }
  for (int g = 0; g < GROUPS; ++g) {
    const int first_row = block * BLOCK + g * WIDTH;
    if (first_row < ROWS) finish(groups[g], out, first_row);
  }
}
