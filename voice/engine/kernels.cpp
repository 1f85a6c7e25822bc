// A decoder stack for a few rows on the CPU: one call runs all layers, one thread team for the whole call.
//
// A step reads every weight once and does little with it, so the bandwidth of memory is its floor. Matrices are rows of
// float, bfloat16, int8 with a scale each, or four bits with a scale for each 32; everything else is float, but for
// what the latter two multiply: widening weights costs more than reading them, so that is rounded to int8 as well, with
// a scale for each block of 64. A row's result does not depend on the rows beside it: each is summed in the same order.
// Compiled by native.py, called through ctypes; the structs mirror it.

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <omp.h>
#include <sched.h>
#include <type_traits>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr int LANES = 16;  // partial sums of a dot product: of GROUP rows, they fit into the sixteen registers
#else
constexpr int LANES = 64;  // with AVX-512 four of 32
#endif
constexpr int GROUP = 4;   // rows that share one pass over a matrix
constexpr int BLOCK = 64;  // activations that share a scale
constexpr int AHEAD = 2048;  // bytes of weights that are fetched before they are wanted: AVX2's processors fetch fewer

constexpr int FINE = 32;  // weights of four bits that share a scale; two such lie in a block's 32 bytes, low bits first
constexpr int8_t LEVELS[16] = {-127, -100, -80, -63, -49, -35, -22, -10, 2, 13, 24, 36, 50, 65, 83, 107};  // linear.py's

struct Matrix {
    const void* weight;  // (outputs, inputs)
    const void* scale;   // int8: float, of each output; four bits: bfloat16 (outputs, inputs / FINE)
    const float* bias;   // or null
    int32_t outputs, inputs, kind;
};

enum Kind { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2, INT4 = 3 };

inline bool is_rounded(int32_t kind) { return kind == INT8 || kind == INT4; }

struct LayerWeights {
    Matrix qkv, out, gate_up, down;
    const float *before_attention, *before_mlp, *head_norms;
};

struct StackWeights {
    int32_t layers, width, heads, kv_heads, head_dim, inner, slots, positions;
    float epsilon;
    const float *norm, *cos, *sin;  // cos, sin (positions, head_dim); sin is signed
    const LayerWeights* layer;
    float *keys, *values;  // (layers, slots, kv_heads, positions, head_dim)
};

// Rows that a matrix multiplies. For int8 and smaller matrices also rounded, x = rounded * scale of the block; `offset` is what
// reading the weights as w + 128 adds to a row's sum, which is how AVX-512's products want them.
struct Operand {
    const float* x;  // (rows, inputs)
    int rows, inputs;
    const int8_t* rounded;  // (rows, inputs)
    const float *scales, *offsets;  // (rows, blocks), (rows)
};

inline int blocks_of(int inputs) { return (inputs + BLOCK - 1) / BLOCK; }

inline int64_t operand_scratch(int rows, int inputs) {
    return static_cast<int64_t>(rows) * ((inputs + 3) / 4 + blocks_of(inputs) + 1);
}

inline float widen(float w) { return w; }
inline float widen(uint16_t w) {
    uint32_t bits = static_cast<uint32_t>(w) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// exp(x) to about 2e-7 relative (Cephes' expf), so that the compiler can vectorise it
inline float fast_exp(float x) {
    x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
    float n = std::floor(x * 1.44269504f + 0.5f);
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

// sin(x)^2 to about 1e-7: its period is pi, so x is brought to within half of that. For |x| below 1e4.
inline float squared_sine(float x) {
    float n = std::nearbyint(x * 0.318309886f);
    float r = (x - n * 3.140625f) - n * 9.67653589793e-4f;
    float s = r * r;
    float p = -2.3889859e-8f;
    p = p * s + 2.7525562e-6f;
    p = p * s - 1.9840874e-4f;
    p = p * s + 8.3333310e-3f;
    p = p * s - 1.6666667e-1f;
    p = r + r * s * p;
    return p * p;
}

inline void narrow(float value, float* to) { *to = value; }
inline void narrow(float value, uint16_t* to) {  // to the nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    *to = static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

template <typename To>
inline void snake_channel(const float* x, float rate, float gain, int64_t count, To* y) {
    for (int64_t i = 0; i < count; ++i) narrow(x[i] + gain * squared_sine(x[i] * rate), y + i);
}

template <typename W, int ROWS>
inline void dots(const W* w, const float* x, int inputs, float* sums) {
    float partial[ROWS][LANES] = {};
    int k = 0;
    for (; k + LANES <= inputs; k += LANES)
        for (int lane = 0; lane < LANES; ++lane) {
            float value = widen(w[k + lane]);
            for (int row = 0; row < ROWS; ++row) partial[row][lane] += value * x[row * inputs + k + lane];
        }
    for (int row = 0; row < ROWS; ++row) {
        for (int half = LANES / 2; half; half /= 2)
            for (int lane = 0; lane < half; ++lane) partial[row][lane] += partial[row][lane + half];
        float tail = 0.0f;
        for (int rest = k; rest < inputs; ++rest) tail += widen(w[rest]) * x[row * inputs + rest];
        sums[row] = partial[row][0] + tail;
    }
}

// All rows: in groups that share one pass over a matrix, then one by one. `dots` takes how many, as a type, and the first.
template <typename Dots>
inline void in_groups(int rows, Dots dots) {
    int row = 0;
    for (; row + GROUP <= rows; row += GROUP) dots(std::integral_constant<int, GROUP>{}, row);
    for (; row < rows; ++row) dots(std::integral_constant<int, 1>{}, row);
}

template <typename W>
inline void dot_all(const W* w, const float* x, int rows, int inputs, float* sums) {
    in_groups(rows, [&](auto group, int row) { dots<W, group>(w, x + row * inputs, inputs, sums + row); });
}

inline float round_block(const float* x, int count, int8_t* rounded, int32_t* sum) {
    float most = 0.0f;
    for (int k = 0; k < count; ++k) most = std::fabs(x[k]) > most ? std::fabs(x[k]) : most;
    float rate = most > 0.0f ? 127.0f / most : 0.0f;
    int32_t total = 0;
    for (int k = 0; k < count; ++k) {
        int32_t value = static_cast<int32_t>(std::nearbyint(x[k] * rate));
        rounded[k] = static_cast<int8_t>(value);
        total += value;
    }
    *sum = total;
    return most / 127.0f;
}

// What a matrix of this kind reads, rounded into `room` (operand_scratch floats) if need be.
inline Operand operand_of(const Matrix& m, const float* x, int rows, float* room) {
    const int blocks = blocks_of(m.inputs);
    float *scales = room, *offsets = scales + static_cast<int64_t>(rows) * blocks;
    int8_t* rounded = reinterpret_cast<int8_t*>(offsets + rows);
    for (int row = 0; row < rows && is_rounded(m.kind); ++row) {
        float offset = 0.0f;
        for (int block = 0; block < blocks; ++block) {
            const int from = block * BLOCK, count = m.inputs - from < BLOCK ? m.inputs - from : BLOCK;
            int32_t sum;
            float scale = round_block(x + static_cast<int64_t>(row) * m.inputs + from, count,
                                      rounded + static_cast<int64_t>(row) * m.inputs + from, &sum);
            scales[row * blocks + block] = scale;
            if (count == BLOCK) offset += scale * static_cast<float>(128 * sum);
        }
        offsets[row] = offset;
    }
    return {x, rows, m.inputs, rounded, scales, offsets};
}

#if defined(__AVX2__)
inline __m256i load_bytes(const int8_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

// Sums of four products each, of |w| and x with the sign of w: unsigned and signed, as the processor wants them.
inline __m256i products_of(__m256i size, __m256i values) {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), size, values);
#else
    // two of 127 * 127 at most fit into 16 bits
    return _mm256_madd_epi16(_mm256_maddubs_epi16(size, values), _mm256_set1_epi16(1));
#endif
}

inline float sum_of(__m256 x) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
#endif

template <int ROWS>
inline void int8_dots(const int8_t* w, const Operand& o, int first, float* sums) {
    const int whole = o.inputs / BLOCK, blocks = blocks_of(o.inputs);
    const int8_t* x = o.rounded + static_cast<int64_t>(first) * o.inputs;
    const float* scales = o.scales + static_cast<int64_t>(first) * blocks;
#if defined(__AVX512VNNI__)
    const __m512i flip = _mm512_set1_epi8(-128);  // w + 128, unsigned
    __m512 partial[ROWS];
    for (int row = 0; row < ROWS; ++row) partial[row] = _mm512_setzero_ps();
    for (int block = 0; block < whole; ++block) {
        const __m512i weights = _mm512_xor_si512(_mm512_loadu_si512(w + block * BLOCK), flip);
        for (int row = 0; row < ROWS; ++row) {
            const __m512i values = _mm512_loadu_si512(x + static_cast<int64_t>(row) * o.inputs + block * BLOCK);
            const __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), weights, values);
            const __m512 scale = _mm512_set1_ps(scales[row * blocks + block]);
            partial[row] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, partial[row]);
        }
    }
    for (int row = 0; row < ROWS; ++row) sums[row] = _mm512_reduce_add_ps(partial[row]) - o.offsets[first + row];
#elif defined(__AVX2__)
    __m256 partial[ROWS];
    for (int row = 0; row < ROWS; ++row) partial[row] = _mm256_setzero_ps();
    for (int block = 0; block < whole; ++block) {
        const __m256i low = load_bytes(w + block * BLOCK), high = load_bytes(w + block * BLOCK + 32);
        _mm_prefetch(reinterpret_cast<const char*>(w + block * BLOCK + AHEAD), _MM_HINT_T0);
        const __m256i low_size = _mm256_abs_epi8(low), high_size = _mm256_abs_epi8(high);
        for (int row = 0; row < ROWS; ++row) {
            const int8_t* values = x + static_cast<int64_t>(row) * o.inputs + block * BLOCK;
            const __m256i sum =
                _mm256_add_epi32(products_of(low_size, _mm256_sign_epi8(load_bytes(values), low)),
                                 products_of(high_size, _mm256_sign_epi8(load_bytes(values + 32), high)));
            const __m256 scale = _mm256_set1_ps(scales[row * blocks + block]);
            partial[row] = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale), partial[row]);
        }
    }
    for (int row = 0; row < ROWS; ++row) sums[row] = sum_of(partial[row]);
#else
    for (int row = 0; row < ROWS; ++row) {
        sums[row] = 0.0f;
        for (int block = 0; block < whole; ++block) {
            const int8_t* values = x + static_cast<int64_t>(row) * o.inputs + block * BLOCK;
            int32_t sum = 0;
            for (int k = 0; k < BLOCK; ++k) sum += w[block * BLOCK + k] * values[k];
            sums[row] += static_cast<float>(sum) * scales[row * blocks + block];
        }
    }
#endif
    for (int row = 0; row < ROWS && whole < blocks; ++row) {
        int32_t sum = 0;
        for (int k = whole * BLOCK; k < o.inputs; ++k) sum += w[k] * x[static_cast<int64_t>(row) * o.inputs + k];
        sums[row] += static_cast<float>(sum) * scales[row * blocks + whole];
    }
}

inline void int8_dot_all(const int8_t* w, const Operand& o, float* sums) {
    in_groups(o.rows, [&](auto group, int row) { int8_dots<group>(w, o, row, sums + row); });
}

// Rows are whole blocks.
template <int ROWS>
inline void int4_dots(const uint8_t* w, const uint16_t* block_scales, const Operand& o, int first, float* sums) {
    const int blocks = o.inputs / BLOCK;
    const int8_t* x = o.rounded + static_cast<int64_t>(first) * o.inputs;
    const float* scales = o.scales + static_cast<int64_t>(first) * blocks;
#if defined(__AVX2__)
    const __m256i levels =
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(LEVELS)));
    const __m256i four_bits = _mm256_set1_epi8(15);
    __m256 partial[ROWS];
    for (int row = 0; row < ROWS; ++row) partial[row] = _mm256_setzero_ps();
    for (int block = 0; block < blocks; ++block) {
        const __m256i packed = load_bytes(reinterpret_cast<const int8_t*>(w + block * FINE));
        _mm_prefetch(reinterpret_cast<const char*>(w + block * FINE + AHEAD), _MM_HINT_T0);
        const __m256i low = _mm256_shuffle_epi8(levels, _mm256_and_si256(packed, four_bits));
        const __m256i high = _mm256_shuffle_epi8(levels, _mm256_and_si256(_mm256_srli_epi16(packed, 4), four_bits));
        const __m256i low_size = _mm256_abs_epi8(low), high_size = _mm256_abs_epi8(high);
        const __m256 low_scale = _mm256_set1_ps(widen(block_scales[2 * block]));
        const __m256 high_scale = _mm256_set1_ps(widen(block_scales[2 * block + 1]));
        for (int row = 0; row < ROWS; ++row) {
            const int8_t* values = x + static_cast<int64_t>(row) * o.inputs + block * BLOCK;
            const __m256i low_sum = products_of(low_size, _mm256_sign_epi8(load_bytes(values), low));
            const __m256i high_sum = products_of(high_size, _mm256_sign_epi8(load_bytes(values + FINE), high));
            const __m256 scale = _mm256_set1_ps(scales[row * blocks + block]);
            partial[row] = _mm256_add_ps(
                _mm256_mul_ps(_mm256_cvtepi32_ps(low_sum), _mm256_mul_ps(low_scale, scale)), partial[row]);
            partial[row] = _mm256_add_ps(
                _mm256_mul_ps(_mm256_cvtepi32_ps(high_sum), _mm256_mul_ps(high_scale, scale)), partial[row]);
        }
    }
    for (int row = 0; row < ROWS; ++row) sums[row] = sum_of(partial[row]);
#else
    for (int row = 0; row < ROWS; ++row) {
        sums[row] = 0.0f;
        for (int block = 0; block < blocks; ++block) {
            const int8_t* values = x + static_cast<int64_t>(row) * o.inputs + block * BLOCK;
            int32_t low_sum = 0, high_sum = 0;
            for (int k = 0; k < FINE; ++k) {
                const uint8_t packed = w[block * FINE + k];
                low_sum += LEVELS[packed & 15] * values[k];
                high_sum += LEVELS[packed >> 4] * values[FINE + k];
            }
            const float sum = static_cast<float>(low_sum) * widen(block_scales[2 * block]) +
                              static_cast<float>(high_sum) * widen(block_scales[2 * block + 1]);
            sums[row] += sum * scales[row * blocks + block];
        }
    }
#endif
}

inline void int4_dot_all(const uint8_t* w, const uint16_t* block_scales, const Operand& o, float* sums) {
    in_groups(o.rows, [&](auto group, int row) { int4_dots<group>(w, block_scales, o, row, sums + row); });
}

// One output of a matrix for all rows.
inline void output_of(const Matrix& m, int output, const Operand& o, float* sums) {
    int64_t at = static_cast<int64_t>(output) * m.inputs;
    float scale = 1.0f, bias = m.bias ? m.bias[output] : 0.0f;
    switch (m.kind) {
        case FLOAT32: dot_all(static_cast<const float*>(m.weight) + at, o.x, o.rows, m.inputs, sums); break;
        case BFLOAT16: dot_all(static_cast<const uint16_t*>(m.weight) + at, o.x, o.rows, m.inputs, sums); break;
        case INT4:
            int4_dot_all(static_cast<const uint8_t*>(m.weight) + at / 2,
                         static_cast<const uint16_t*>(m.scale) + at / FINE, o, sums);
            break;
        default:
            int8_dot_all(static_cast<const int8_t*>(m.weight) + at, o, sums);
            scale = static_cast<const float*>(m.scale)[output];
    }
    for (int row = 0; row < o.rows; ++row) sums[row] = sums[row] * scale + bias;
}

inline void rms_norm(const float* x, const float* weight, int width, float epsilon, float* to) {
    float partial[16] = {};
    int k = 0;
    for (; k + 16 <= width; k += 16)
        for (int lane = 0; lane < 16; ++lane) partial[lane] += x[k + lane] * x[k + lane];
    float sum = 0.0f;
    for (int lane = 0; lane < 16; ++lane) sum += partial[lane];
    for (; k < width; ++k) sum += x[k] * x[k];
    float rate = 1.0f / std::sqrt(sum / width + epsilon);
    for (k = 0; k < width; ++k) to[k] = weight[k] * (x[k] * rate);
}

// Threads of one team wait for each other here. They spin, for a step is over in milliseconds, but give the core away
// where others want it.
class Barrier {
   public:
    explicit Barrier(int team) : team_(team) {}
    void wait() {
        int turn = turn_.load(std::memory_order_acquire);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == team_) {
            arrived_.store(0, std::memory_order_relaxed);
            turn_.fetch_add(1, std::memory_order_acq_rel);
            return;
        }
        for (int spins = 0; turn_.load(std::memory_order_acquire) == turn; ++spins) {
            if (spins >= 4000) sched_yield();
#if defined(__x86_64__)
            else __builtin_ia32_pause();
#endif
        }
    }

   private:
    const int team_;
    std::atomic<int> arrived_{0}, turn_{0};
};

struct Share {
    int first, last;
    Share(int count, int thread, int team) : first(count * thread / team), last(count * (thread + 1) / team) {}
};

class Step {
   public:
    Step(const StackWeights& s, float* x, int rows, const int32_t* slots, const int32_t* at, float* scratch, int team)
        : s_(s), x_(x), rows_(rows), slots_(slots), at_(at), team_(team), barrier_(team) {
        query_ = scratch;
        mixed_ = query_ + static_cast<int64_t>(rows) * s.heads * s.head_dim;
        inner_ = mixed_ + static_cast<int64_t>(rows) * s.heads * s.head_dim;
        own_ = inner_ + static_cast<int64_t>(rows) * s.inner;
        own_size_ = own_scratch(s, rows);
    }

    // Floats that each thread wants for itself.
    static int64_t own_scratch(const StackWeights& s, int rows) {
        const int mixed = s.heads * s.head_dim, most = s.inner > mixed ? s.inner : mixed;
        return static_cast<int64_t>(rows) * (s.width + s.head_dim + 2) + s.positions +
               operand_scratch(rows, most > s.width ? most : s.width);
    }

    void run(int thread) {
        float* normed = own_ + thread * own_size_;
        float* head = normed + static_cast<int64_t>(rows_) * s_.width;
        float* sums = head + static_cast<int64_t>(rows_) * s_.head_dim;
        float* scores = sums + 2 * rows_;
        float* room = scores + s_.positions;
        for (int index = 0; index < s_.layers; ++index) {
            const LayerWeights& layer = s_.layer[index];
            norm_rows(layer.before_attention, normed);
            project_heads(layer, index, operand_of(layer.qkv, normed, rows_, room), head, sums, thread);
            barrier_.wait();
            attend(index, scores, thread);
            barrier_.wait();
            add_outputs(layer.out, operand_of(layer.out, mixed_, rows_, room), sums, thread);
            barrier_.wait();
            norm_rows(layer.before_mlp, normed);
            gate(layer.gate_up, operand_of(layer.gate_up, normed, rows_, room), sums, thread);
            barrier_.wait();
            add_outputs(layer.down, operand_of(layer.down, inner_, rows_, room), sums, thread);
            barrier_.wait();
        }
    }

   private:
    float* cached(float* cache, int layer, int slot, int head, int at) const {
        int64_t row = ((static_cast<int64_t>(layer) * s_.slots + slot) * s_.kv_heads + head) * s_.positions + at;
        return cache + row * s_.head_dim;
    }

    void norm_rows(const float* weight, float* to) const {
        for (int row = 0; row < rows_; ++row)
            rms_norm(x_ + row * s_.width, weight, s_.width, s_.epsilon, to + row * s_.width);
    }

    void project_heads(const LayerWeights& layer, int index, const Operand& x, float* head, float* sums, int thread) {
        const int dim = s_.head_dim, turned = s_.heads + s_.kv_heads;
        Share share(turned + s_.kv_heads, thread, team_);
        for (int h = share.first; h < share.last; ++h) {
            for (int d = 0; d < dim; ++d) {
                output_of(layer.qkv, h * dim + d, x, sums);
                for (int row = 0; row < rows_; ++row) head[row * dim + d] = sums[row];
            }
            for (int row = 0; row < rows_; ++row) {
                float* from = head + row * dim;
                if (h >= turned) {
                    std::memcpy(cached(s_.values, index, slots_[row], h - turned, at_[row]), from, dim * sizeof(float));
                    continue;
                }
                rms_norm(from, layer.head_norms + h * dim, dim, s_.epsilon, from);
                float* to = h < s_.heads ? query_ + (static_cast<int64_t>(row) * s_.heads + h) * dim
                                         : cached(s_.keys, index, slots_[row], h - s_.heads, at_[row]);
                const float *cos = s_.cos + at_[row] * dim, *sin = s_.sin + at_[row] * dim;
                for (int d = 0; d < dim; ++d) to[d] = from[d] * cos[d] + from[(d + dim / 2) % dim] * sin[d];
            }
        }
    }

    void attend(int index, float* scores, int thread) {
        const int dim = s_.head_dim, group = s_.heads / s_.kv_heads;
        const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
        Share share(rows_ * s_.heads, thread, team_);
        for (int item = share.first; item < share.last; ++item) {
            const int row = item / s_.heads, h = item % s_.heads, count = at_[row] + 1;
            const float* query = query_ + static_cast<int64_t>(item) * dim;
            const float* keys = cached(s_.keys, index, slots_[row], h / group, 0);
            const float* values = cached(s_.values, index, slots_[row], h / group, 0);
            float most = -INFINITY, sum = 0.0f;
            for (int p = 0; p < count; ++p) {
                float dot;
                dots<float, 1>(keys + static_cast<int64_t>(p) * dim, query, dim, &dot);
                scores[p] = dot * scale;
                most = scores[p] > most ? scores[p] : most;
            }
            for (int p = 0; p < count; ++p) scores[p] = fast_exp(scores[p] - most);
            for (int p = 0; p < count; ++p) sum += scores[p];
            float* to = mixed_ + static_cast<int64_t>(item) * dim;
            for (int d = 0; d < dim; ++d) to[d] = 0.0f;
            for (int p = 0; p < count; ++p)
                for (int d = 0; d < dim; ++d) to[d] += scores[p] * values[static_cast<int64_t>(p) * dim + d];
            for (int d = 0; d < dim; ++d) to[d] /= sum;
        }
    }

    void add_outputs(const Matrix& matrix, const Operand& x, float* sums, int thread) {
        Share share(matrix.outputs, thread, team_);
        for (int output = share.first; output < share.last; ++output) {
            output_of(matrix, output, x, sums);
            for (int row = 0; row < rows_; ++row) x_[row * s_.width + output] += sums[row];
        }
    }

    void gate(const Matrix& matrix, const Operand& x, float* sums, int thread) {
        Share share(s_.inner, thread, team_);
        for (int output = share.first; output < share.last; ++output) {
            output_of(matrix, output, x, sums);
            output_of(matrix, s_.inner + output, x, sums + rows_);
            for (int row = 0; row < rows_; ++row)
                inner_[static_cast<int64_t>(row) * s_.inner + output] =
                    sums[row] / (1.0f + fast_exp(-sums[row])) * sums[rows_ + row];
        }
    }

    const StackWeights& s_;
    float* x_;
    const int rows_;
    const int32_t *slots_, *at_;
    const int team_;
    Barrier barrier_;
    float *query_, *mixed_, *inner_, *own_;
    int64_t own_size_;
};

}  // namespace

extern "C" {

// Whether int8 is multiplied by instructions made for it, or one by one.
int32_t has_int8_products() {
#if defined(__AVX512VNNI__) || defined(__AVX2__)
    return 1;
#else
    return 0;
#endif
}

// Floats that `stack_step` wants as scratch.
int64_t stack_scratch(const StackWeights* s, int32_t rows, int32_t team) {
    int64_t shared = static_cast<int64_t>(rows) * (2 * s->heads * s->head_dim + s->inner);
    return shared + team * Step::own_scratch(*s, rows);
}

// Run x (rows, width) through all layers and the final norm, in place. Row r is position at[r] of slot slots[r]; it sees
// the positions before it, those of rows beside it included.
void stack_step(const StackWeights* s, float* x, int32_t rows, const int32_t* slots, const int32_t* at, float* scratch,
                int32_t team) {
    Step* step = nullptr;
#pragma omp parallel num_threads(team) shared(step)
    {
#pragma omp single
        step = new Step(*s, x, rows, slots, at, scratch, omp_get_num_threads());  // fewer, if the system says so
        step->run(omp_get_thread_num());
    }
    delete step;
    for (int row = 0; row < rows; ++row)
        rms_norm(x + row * s->width, s->norm, s->width, s->epsilon, x + row * s->width);
}

// Floats that `matrix_product` wants as scratch.
int64_t matrix_scratch(const Matrix* m, int32_t rows, int32_t team) {
    return static_cast<int64_t>(team) * rows + operand_scratch(rows, m->inputs);
}

// y (rows, outputs) = x (rows, inputs) times the matrix.
void matrix_product(const Matrix* m, const float* x, int32_t rows, float* y, float* scratch, int32_t team) {
    const Operand operand = operand_of(*m, x, rows, scratch + static_cast<int64_t>(team) * rows);
#pragma omp parallel num_threads(team)
    {
        int thread = omp_get_thread_num();
        float* sums = scratch + static_cast<int64_t>(thread) * rows;
        Share share(m->outputs, thread, omp_get_num_threads());
        for (int output = share.first; output < share.last; ++output) {
            output_of(*m, output, operand, sums);
            for (int row = 0; row < rows; ++row) y[static_cast<int64_t>(row) * m->outputs + output] = sums[row];
        }
    }
}

// y (rows, channels, n) = x + gain sin(rate x)^2, in float or bfloat16.
void snake(const float* x, const float* rate, const float* gain, void* y, int32_t kind, int32_t rows, int32_t channels,
           int32_t n, int32_t team) {
#pragma omp parallel for num_threads(team) schedule(static)
    for (int row = 0; row < rows * channels; ++row) {
        const int channel = row % channels;
        const int64_t at = static_cast<int64_t>(row) * n;
        if (kind == BFLOAT16)
            snake_channel(x + at, rate[channel], gain[channel], n, static_cast<uint16_t*>(y) + at);
        else
            snake_channel(x + at, rate[channel], gain[channel], n, static_cast<float*>(y) + at);
    }
}

}  // extern "C"
