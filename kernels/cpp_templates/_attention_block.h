// A group of queries, one per vector lane, and what masks given as arguments let it see.
// The constants come from the generated text before this one.

constexpr int ROWS = GROUP * TQ;  // queries that share one K and V
constexpr int smaller(int a, int b) { return a < b ? a : b; }
constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
constexpr int ENOUGH_LANES = ROWS <= 4 ? 4 : ROWS <= 8 ? 8 : 16;
constexpr int LANES = smaller(smaller(NATIVE_LANES, MOST_LANES), ENOUGH_LANES);
typedef float Lanes __attribute__((vector_size(4 * LANES), may_alias));
typedef int Numbers __attribute__((vector_size(4 * LANES), may_alias));

constexpr int VECTORS = smaller(smaller(UNROLL, REGISTERS / 8), ceil_div(ROWS, LANES));
constexpr int WIDTH = VECTORS * LANES;  // queries in a group
constexpr int GROUPS = smaller(ceil_div(BLOCK_Q, WIDTH), ceil_div(ROWS, WIDTH));
constexpr int BLOCK = GROUPS * WIDTH;
constexpr int BLOCKS = ceil_div(ROWS, BLOCK);
constexpr int KEYS = smaller(BLOCK_K, TK);

struct alignas(64) Group {
  float top[WIDTH], total[WIDTH], shrink[WIDTH];
  int position[WIDTH];
  long lead[WIDTH];
  int first_position, last_position;
};

KL_INLINE Lanes load(const float* from) {
  Lanes value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}
KL_INLINE void store(float* to, Lanes value) { __builtin_memcpy(to, &value, sizeof value); }

static void begin(Group& group, long key_lead, int first_row) {
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
}

// What a row's sum of weighted values must be multiplied by.
KL_INLINE float share(const Group& group, int i) {
  return HIDDEN_ROWS_ARE_ZERO && group.total[i] == 0 ? 0.0f : OUT_SCALE / group.total[i];
}

template <int... L> struct Indices {};

// Exchanges the off-diagonal S x S blocks of a square tile, for S = 1, 2, 4 ..
template <int S, int... L> KL_INLINE void exchange(Lanes* row, Indices<L...> all) {
  if constexpr (S < LANES) {
#pragma GCC unroll 16
    for (int i = 0; i < LANES; ++i)
      if (!(i & S)) {
        const Lanes a = row[i], b = row[i + S];
        row[i] = __builtin_shuffle(a, b, Numbers{(L & S ? LANES + L - S : L)...});
        row[i + S] = __builtin_shuffle(a, b, Numbers{(L & S ? LANES + L : L + S)...});
      }
    exchange<2 * S>(row, all);
  }
}
template <int SIZE = LANES> KL_INLINE void transpose(Lanes* row) {
  exchange<1>(row, Indices<__integer_pack(SIZE)...>());
}

enum Seen { IDLE, MIXED, HIDDEN };

// Whether scores at FAINT or below no longer matter: every row has seen one far above.
static bool has_seen(const Group& group) {
  bool all = true;
  for (int i = 0; i < WIDTH; ++i) all &= group.top[i] > FAINT / 1e4f;
  return all;
}

// One group of queries and one tile of keys, as a mask that is an argument sees them.
template <class Mask, int TILE>
static Seen read_mask(const Group& group, const typename Mask::Element* mask, int first_key,
                      float (*bias)[WIDTH], bool skips) {
  const typename Mask::Element* from[WIDTH];
  constexpr int DIFFERENT = Mask::SHARED ? 1 : WIDTH;
  int idle = 0, hidden = 0, faint = 0;
  for (int i = 0; i < DIFFERENT; ++i) {
    from[i] = mask + Mask::lead(group.lead[i]) + group.position[i] * Mask::ROW +
              first_key * Mask::COLUMN;
    for (int key = 0; key < TILE; ++key) {
      const float value = Mask::value(from[i][key * Mask::COLUMN]);
      idle += value == 0;
      hidden += Mask::hides(value);
      faint += Mask::is_faint(value);
    }
  }
  constexpr int ALL = TILE * DIFFERENT;
  if (skips && (hidden == ALL || (faint == ALL && has_seen(group)))) return HIDDEN;
  if (idle == ALL) {
    __builtin_memset(bias, 0, sizeof(float) * TILE * WIDTH);
    return IDLE;
  }
  if constexpr (Mask::SHARED) {
    for (int key = 0; key < TILE; ++key)
      for (int i = 0; i < WIDTH; ++i) bias[key][i] = Mask::value(from[0][key * Mask::COLUMN]);
  } else {
    for (int i = 0; i < WIDTH; i += LANES)
      for (int key = 0; key < TILE; key += LANES) {
        Lanes rows[LANES];
        for (int l = 0; l < LANES; ++l) {
          alignas(64) float row[LANES] = {};
          for (int c = 0; c < smaller(LANES, TILE - key); ++c)
            row[c] = Mask::value(from[i + l][(key + c) * Mask::COLUMN]);
          rows[l] = load(row);
        }
        transpose(rows);
        for (int l = 0; l < smaller(LANES, TILE - key); ++l) store(&bias[key + l][i], rows[l]);
      }
  }
  return MIXED;
}
