// Online softmax over tiles of keys.  Queries, multiply_keys() and add_values() come from one of
// two headers before this text, read_masks() and adjust() from the generated part.

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
static void attend(Queries& group, const float* k, const float* v, const Masks& masks,
                   int first_key, bool skips) {
  const int nearest = first_key - group.last_position;
  const int farthest = first_key + TILE - 1 - group.first_position;
  if (HIDES_BAND && skips && (nearest > HIGH || farthest < LOW)) return;
  alignas(64) float score[TILE][WIDTH];
  alignas(64) float bias[MASKS ? MASKS : 1][TILE][WIDTH];
  const Seen seen = read_masks<TILE>(group, masks, first_key, bias, skips);
  if (seen == HIDDEN) return;
  multiply_keys<TILE>(group, k, score);
  const bool edge = HIDES_BAND && (farthest > HIGH || nearest < LOW);
  if (ALWAYS_ADJUSTS || edge || seen == MIXED)
    for (int key = 0; key < TILE; ++key)
      for (int i = 0; i < WIDTH; ++i)
        score[key][i] = adjust(score[key][i], first_key + key - group.position[i],
                               &bias[0][key][i], TILE * WIDTH);
  soften<TILE>(group, score);
  add_values<TILE>(group, v, score);
}

template <int COLUMNS> KL_INLINE bool is_finite(const float* from, long row, long column) {
  int bad = 0;
  for (long key = 0; key < TK; ++key)
    for (long d = 0; d < COLUMNS; ++d) {
      const float number = from[key * row + d * column];
      bad |= !(number - number == 0);
    }
  return !bad;
}

static void compute(const float* q, const float* k, const float* v, float* out,
                    const Masks& masks, long key_lead, int block) {
  const float *keys = k + lead_of_k(key_lead * GROUP), *values = v + lead_of_v(key_lead * GROUP);
  // A weight of zero times a NaN or infinity is a NaN: then hidden keys count as well.
  const bool skips =
      (HIDES_BAND || MASKS) &&
      (HIDDEN_KEYS_NEVER_COUNT ||
       (is_finite<DK>(keys, K_ROW, K_COLUMN) && is_finite<DV>(values, V_ROW, V_COLUMN)));
  Queries groups[GROUPS];
  int low = TK, high = 0;  // the keys that some query of the block may see
  for (int g = 0; g < GROUPS; ++g) {
    begin(groups[g], key_lead, block * BLOCK + g * WIDTH);
    pack(groups[g], q);
    low = smaller(low, groups[g].first_position + LOW);
    high = -smaller(-high, -(groups[g].last_position + HIGH + 1));
  }
  const int from = HIDES_BAND && skips && low > 0 ? low / KEYS * KEYS : 0;
  const int until = HIDES_BAND && skips ? smaller(high, TK) : TK;
  for (int key = from; key < until; key += KEYS) {
    const float *here = keys + key * K_ROW, *there = values + key * V_ROW;
    for (int g = 0; g < GROUPS; ++g) {
      if (key + KEYS <= TK)
        attend<KEYS>(groups[g], here, there, masks, key, skips);
      else if constexpr (TK % KEYS != 0)
        attend<TK % KEYS>(groups[g], here, there, masks, key, skips);
    }
  }
  for (int g = 0; g < GROUPS; ++g) {
    const int first_row = block * BLOCK + g * WIDTH;
    if (first_row < ROWS) finish(groups[g], out, first_row);
  }
}
