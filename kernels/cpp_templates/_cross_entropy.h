// Cross entropy from logits: log(sum(exp(x - top))) + (top - x[label]) for each row.  Constants,
// at_logits() and at_label() come from the generated text before this one.

constexpr int LANES = 64;
constexpr long BLOCK = ROWS_IN_LANES ? POSITIONS : 16;  // rows summed in order by one thread
constexpr long BLOCKS = ROWS_IN_LANES ? ROWS / INNER * ((INNER + BLOCK - 1) / BLOCK)
                                  : (ROWS + BLOCK - 1) / BLOCK;

struct Sum {
  double loss = 0;
  long kept = 0;
};

// Adds a row to its block; NaN for labels outside the classes, which torch refuses.
KL_INLINE void close_row(const float* x, Label label, double log_sum, long row, float* out,
                         Sum& block) {
  const long given = label, wrapped = WRAPS && given < 0 ? given + CLASSES : given;
  if (IGNORES && given == IGNORED) {
    if (!REDUCES) out[row] = 0;
    return;
  }
  double loss = kl_nan;
  if (wrapped >= 0 && wrapped < CLASSES)
    loss = log_sum - static_cast<double>(x[wrapped * STEP] * SCALE);
  if (!REDUCES) out[row] = static_cast<float>(loss * OUT_SCALE);
  block.loss += loss;
  ++block.kept;
}

template <long COUNT> KL_INLINE float top_of(const float* x, float top) {
  float tops[LANES];
  for (int l = 0; l < LANES; ++l) tops[l] = top;
  for (long c = 0; c + LANES <= COUNT; c += LANES)
    for (int l = 0; l < LANES; ++l) {
      const float value = x[(c + l) * STEP] * SCALE;
      tops[l] = value > tops[l] ? value : tops[l];
    }
  for (int l = 0; l < COUNT % LANES; ++l) {
    const float value = x[(COUNT - COUNT % LANES + l) * STEP] * SCALE;
    tops[l] = value > tops[l] ? value : tops[l];
  }
  for (int width = LANES / 2; width; width /= 2)
    for (int l = 0; l < width; ++l) tops[l] = tops[l] > tops[l + width] ? tops[l] : tops[l + width];
  return tops[0];
}

template <long COUNT> KL_INLINE float sum_of(const float* x, float top) {
  const float base = top == -kl_inf ? 0.0f : top;
  float sums[LANES] = {};
  for (long c = 0; c + LANES <= COUNT; c += LANES)
    for (int l = 0; l < LANES; ++l) sums[l] += kl_exp(x[(c + l) * STEP] * SCALE - base);
  for (int l = 0; l < COUNT % LANES; ++l)
    sums[l] += kl_exp(x[(COUNT - COUNT % LANES + l) * STEP] * SCALE - base);
  for (int width = LANES / 2; width; width /= 2)
    for (int l = 0; l < width; ++l) sums[l] += sums[l + width];
  return sums[0];
}

template <long COUNT> KL_INLINE void add_chunk(const float* x, float& top, double& sum) {
  const float before = top;
  if constexpr (ONLINE) top = top_of<COUNT>(x, top);
  if (ONLINE && top > before) sum *= kl_exp(before - top);
  sum += sum_of<COUNT>(x, top);
}

static Sum sum_rows(const float* logits, const Label* labels, float* out, long block) {
  Sum total;
  for (long row = block * BLOCK; row < kl_min(ROWS, (block + 1) * BLOCK); ++row) {
    const float* x = logits + at_logits(row);
    const Label label = labels[at_label(row)];
    if (IGNORES && label == IGNORED) {
      close_row(x, label, 0, row, out, total);
      continue;
    }
    float top = ONLINE ? -kl_inf : top_of<CLASSES>(x, -kl_inf);
    double sum = 0;
    for (long c = 0; c + CHUNK <= CLASSES; c += CHUNK) add_chunk<CHUNK>(x + c * STEP, top, sum);
    if constexpr (CLASSES % CHUNK != 0)
      add_chunk<CLASSES % CHUNK>(x + (CLASSES - CLASSES % CHUNK) * STEP, top, sum);
    close_row(x, label, top + kl_log(sum), row, out, total);
  }
  return total;
}

// Few classes, or classes that lie apart: neighbouring rows go in the lanes.
static Sum sum_columns(const float* logits, const Label* labels, float* out, long block) {
  constexpr long PER_RUN = (INNER + BLOCK - 1) / BLOCK;
  const long inside = block % PER_RUN * BLOCK, first = block / PER_RUN * INNER + inside;
  const long count = kl_min(BLOCK, INNER - inside);
  const float* x = logits + at_logits(first);
  float top[BLOCK], base[BLOCK], sum[BLOCK] = {};
  for (long i = 0; i < BLOCK; ++i) top[i] = -kl_inf;
  for (long c = 0; c < CLASSES; ++c)
    for (long i = 0; i < count; ++i) {
      const float value = x[c * STEP + i * RUN] * SCALE;
      top[i] = value > top[i] ? value : top[i];
    }
  for (long i = 0; i < BLOCK; ++i) base[i] = top[i] == -kl_inf ? 0.0f : top[i];
  for (long start = 0; start < CLASSES; start += CHUNK) {
    float part[BLOCK] = {};
    for (long c = start; c < kl_min(CLASSES, start + CHUNK); ++c)
      for (long i = 0; i < count; ++i) part[i] += kl_exp(x[c * STEP + i * RUN] * SCALE - base[i]);
    for (long i = 0; i < count; ++i) sum[i] += part[i];
  }
  for (long i = 0; i < BLOCK; ++i) sum[i] = kl_log(sum[i]);
  Sum total;
  for (long i = 0; i < count; ++i)
    close_row(x + i * RUN, labels[at_label(first + i)], static_cast<double>(top[i]) + sum[i],
              first + i, out, total);
  return total;
}

extern "C" void cross_entropy(const float* logits, const Label* labels, float* out) {
  Sum* const sums = new Sum[BLOCKS];
#pragma omp parallel for schedule(static) if (PARALLEL)
  for (long block = 0; block < BLOCKS; ++block)
    sums[block] = ROWS_IN_LANES ? sum_columns(logits, labels, out, block)
                                : sum_rows(logits, labels, out, block);
  Sum total;
  for (long block = 0; block < BLOCKS; ++block) {
    total.loss += sums[block].loss;
    total.kept += sums[block].kept;
  }
  delete[] sums;
  if (!REDUCES) return;
  out[0] = static_cast<float>(total.loss * OUT_SCALE / (DIVIDES_BY_KEPT ? total.kept : 1));
}
