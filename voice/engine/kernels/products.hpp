// Products of a matrix with a few rows. Each row is summed in the same order, whatever rows are beside it.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "matrix.hpp"

namespace {

// Partial sums of a float's product: those of GROUP rows fit into the registers. Bytes of weights in four bits that are
// fetched before they are wanted; measured: docs/log.md, 2026-12-01.
#if defined(__AVX512F__)
constexpr int LANES = 32, AHEAD = 4096;
#else
constexpr int LANES = 16, AHEAD = 2048;  // int8, too, where the kernels are AVX2's
#endif
constexpr int GROUP = 4;   // rows that share one pass over a matrix
constexpr int TILE = 16;   // outputs that are worked out one after the other

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

#if defined(__AVX2__)
inline __m256i load_bytes(const int8_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
#endif

#if defined(__AVX2__) && !defined(__AVX512VNNI__)
// Sums of four products each, of |w| and x with the sign of w: unsigned and signed, as the processor wants them.
inline __m256i products_of(__m256i size, __m256i values) {
    // two of 127 * 127 at most fit into 16 bits
    return _mm256_madd_epi16(_mm256_maddubs_epi16(size, values), _mm256_set1_epi16(1));
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

// Rows are whole blocks.
template <int ROWS>
inline void int4_dots(const uint8_t* w, const uint16_t* block_scales, const Operand& o, int first, float* sums) {
    const int blocks = o.inputs / BLOCK;
    const int8_t* x = o.rounded + static_cast<int64_t>(first) * o.inputs;
    const float* scales = o.scales + static_cast<int64_t>(first) * blocks;
#if defined(__AVX512VNNI__)
    const int32_t* quads = o.quads + static_cast<int64_t>(first) * fours_of(o.inputs);
    const __m512i levels = _mm512_xor_si512(
        _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(LEVELS))), _mm512_set1_epi8(-128));
    const __m512i four_bits = _mm512_set1_epi8(15);
    // the upper half's shift, and its scale
    const __m512i right = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
    const __m512i which = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi32(0x00010000), 1);
    __m512 partial[ROWS];
    for (int row = 0; row < ROWS; ++row) partial[row] = _mm512_setzero_ps();
    for (int block = 0; block < blocks; ++block) {
        const __m512i packed = _mm512_broadcast_i64x4(load_bytes(reinterpret_cast<const int8_t*>(w + block * FINE)));
        _mm_prefetch(reinterpret_cast<const char*>(w + block * FINE + AHEAD), _MM_HINT_T0);
        const __m512i weights =
            _mm512_shuffle_epi8(levels, _mm512_and_si512(_mm512_srlv_epi16(packed, right), four_bits));
        int32_t pair;
        std::memcpy(&pair, block_scales + 2 * block, sizeof pair);
        const __m512 both =
            _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xAAAAAAAA, which, _mm512_set1_epi32(pair)));
        for (int row = 0; row < ROWS; ++row) {
            const __m512i values = _mm512_loadu_si512(x + static_cast<int64_t>(row) * o.inputs + block * BLOCK);
            const int32_t* less = quads + static_cast<int64_t>(row) * fours_of(o.inputs) + block * (BLOCK / 4);
            const __m512i sum = _mm512_dpbusd_epi32(_mm512_loadu_si512(less), weights, values);
            const __m512 scale = _mm512_mul_ps(both, _mm512_set1_ps(scales[row * blocks + block]));
            partial[row] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, partial[row]);
        }
    }
    for (int row = 0; row < ROWS; ++row) sums[row] = _mm512_reduce_add_ps(partial[row]);
#elif defined(__AVX2__)
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

// Outputs [first, end) of a matrix for ROWS rows from `row` on; `sum_row` sums products with the weights at an offset.
template <int ROWS, typename Sum>
inline void outputs_by(const Matrix& m, int first, int end, int row, float* to, int64_t stride, Sum sum_row) {
    const float* scale = m.kind == INT8 ? static_cast<const float*>(m.scale) : nullptr;
    for (int output = first; output < end; ++output) {
        float sums[ROWS];
        sum_row(static_cast<int64_t>(output) * m.inputs, sums);
        const float rate = scale ? scale[output] : 1.0f, bias = m.bias ? m.bias[output] : 0.0f;
        for (int r = 0; r < ROWS; ++r) to[(row + r) * stride + output - first] = sums[r] * rate + bias;
    }
}

// A function of its own: inlined into a step, its loops run out of registers.
template <int ROWS>
__attribute__((noinline)) void outputs_of_rows(const Matrix& m, int first, int end, const Operand& o, int row,
                                               float* to, int64_t stride) {
    const auto by = [&](auto sum_row) { outputs_by<ROWS>(m, first, end, row, to, stride, sum_row); };
    const float* x = o.x + static_cast<int64_t>(row) * m.inputs;
    switch (m.kind) {
        case FLOAT32: {
            const auto* w = static_cast<const float*>(m.weight);
            return by([&](int64_t at, float* sums) { dots<float, ROWS>(w + at, x, m.inputs, sums); });
        }
        case BFLOAT16: {
            const auto* w = static_cast<const uint16_t*>(m.weight);
            return by([&](int64_t at, float* sums) { dots<uint16_t, ROWS>(w + at, x, m.inputs, sums); });
        }
        case INT8: {
            const auto* w = static_cast<const int8_t*>(m.weight);
            return by([&](int64_t at, float* sums) { int8_dots<ROWS>(w + at, o, row, sums); });
        }
        default: {
            const auto* w = static_cast<const uint8_t*>(m.weight);
            const auto* scales = static_cast<const uint16_t*>(m.scale);
            return by([&](int64_t at, float* sums) { int4_dots<ROWS>(w + at / 2, scales + at / FINE, o, row, sums); });
        }
    }
}

// Outputs [first, end) of a matrix for all rows: those of row r are to[r * stride] and on. GROUP rows share one pass
// over the matrix, the others follow one by one; TILE outputs stay in the cache from group to group.
inline void outputs_of(const Matrix& m, int first, int end, const Operand& o, float* to, int64_t stride) {
    for (int next; first < end; to += next - first, first = next) {
        next = std::min(first + TILE, end);
        int row = 0;
        for (; row + GROUP <= o.rows; row += GROUP) outputs_of_rows<GROUP>(m, first, next, o, row, to, stride);
        for (; row < o.rows; ++row) outputs_of_rows<1>(m, first, next, o, row, to, stride);
    }
}

}  // namespace
