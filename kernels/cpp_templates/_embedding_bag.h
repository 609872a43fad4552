// Sums of table rows: the rows of a bag are added in registers while later ones are fetched, for
// random rows come from far memory.  One struct per part (a table and its bags) follows this text.

typedef float Lanes __attribute__((vector_size(4 * WIDTH), may_alias));

KL_INLINE Lanes load(const float* from) {
  Lanes value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}
KL_INLINE void store(float* to, Lanes value) { __builtin_memcpy(to, &value, sizeof value); }

// Position of an entry's row in the table, or -1 if torch would refuse the index.
template <class Part> KL_INLINE long row_of(const Part& part, long bag, long entry) {
  const long given = part.index(bag, entry);
  const long row = Part::WRAPS && given < 0 ? given + Part::TABLE_ROWS : given;
  return row >= 0 && row < Part::TABLE_ROWS ? row : -1;
}

// Columns from `first` on of one bag, VECTORS * WIDTH + TAIL of them.
template <int VECTORS, int TAIL, class Part>
KL_INLINE void add_columns(const Part& part, float* out, long bag, long begin, long end, int first) {
  constexpr bool AHEAD = PREFETCH > 0;
  Lanes total[VECTORS + 1] = {};
  float total_tail[TAIL + 1] = {};
  long counted = 0;
  bool good = true;
  for (long start = begin; start < end; start += RUN) {
    Lanes sum[VECTORS + 1] = {};
    float sum_tail[TAIL + 1] = {};
    for (long entry = start; entry < kl_min(end, start + RUN); ++entry) {
      if constexpr (AHEAD) {
        const long number = part.later(bag, entry, PREFETCH);
        const long next = row_of(part, part.bag_of(number), part.entry_of(number));
        const char* to = reinterpret_cast<const char*>(part.row(next) + first);
        for (long line = 0; line < (VECTORS * WIDTH + TAIL) * 4; line += 64)
          __builtin_prefetch(to + line, 0, LOCALITY);
      }
      const long row = row_of(part, bag, entry);
      good &= row >= 0;
      if (row < 0 || (Part::PADS && row == Part::PADDING)) continue;
      const float* from = part.row(row) + first;
      const float weight = part.weight(bag, entry);
      ++counted;
#pragma GCC unroll 16
      for (int v = 0; v < VECTORS; ++v) sum[v] += weight * load(from + v * WIDTH);
#pragma GCC unroll 16
      for (int c = 0; c < TAIL; ++c) sum_tail[c] += weight * from[VECTORS * WIDTH + c];
    }
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; ++v) total[v] += sum[v];
    for (int c = 0; c < TAIL; ++c) total_tail[c] += sum_tail[c];
  }
  const float count = Part::DIVIDES ? kl_max(counted, 1l) : 1;
  const float scale = good ? Part::SCALE / count : kl_nan;
  float* to = out + part.out_at(bag) + first;
#pragma GCC unroll 16
  for (int v = 0; v < VECTORS; ++v) store(to + v * WIDTH, total[v] * scale);
  for (int c = 0; c < TAIL; ++c) to[VECTORS * WIDTH + c] = total_tail[c] * scale;
}

template <class Part> KL_INLINE void add_bag(const Part& part, float* out, long bag) {
  constexpr int BLOCK = VECTORS_AT_ONCE * WIDTH, WHOLE = Part::COLUMNS / BLOCK * BLOCK;
  const long begin = part.begin(bag), end = part.end(bag);
  for (int first = 0; first < WHOLE; first += BLOCK)
    add_columns<VECTORS_AT_ONCE, 0>(part, out, bag, begin, end, first);
  if constexpr (Part::COLUMNS > WHOLE)
    add_columns<(Part::COLUMNS - WHOLE) / WIDTH, Part::COLUMNS % WIDTH>(part, out, bag, begin, end,
                                                                        WHOLE);
}
