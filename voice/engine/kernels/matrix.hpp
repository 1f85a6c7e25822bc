// Matrices, and the rows that they multiply.
//
// A matrix is rows of float, bfloat16, int8 with a scale each, or four bits with a scale for each 32. What the latter
// two multiply is rounded to int8 as well, with a scale for each block of 64: widening weights costs more than reading
// them.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

constexpr int BLOCK = 64;  // activations that share a scale
constexpr int FINE = 32;   // weights of four bits that share a scale; two such lie in a block's bytes, low bits first
// linear.py's
constexpr int8_t LEVELS[16] = {-127, -100, -80, -63, -49, -35, -22, -10, 2, 13, 24, 36, 50, 65, 83, 107};

#if defined(__AVX512VNNI__)
constexpr bool READS_UNSIGNED = true;  // its products want weights as w + 128
#else
constexpr bool READS_UNSIGNED = false;
#endif

struct Matrix {
    const void* weight;  // (outputs, inputs)
    const void* scale;   // int8: float, of each output; four bits: bfloat16 (outputs, inputs / FINE)
    const float* bias;   // or null
    int32_t outputs, inputs, kind;
};

enum Kind { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2, INT4 = 3 };

inline bool is_rounded(int32_t kind) { return kind == INT8 || kind == INT4; }

inline float widen(float w) { return w; }
inline float widen(uint16_t w) {
    uint32_t bits = static_cast<uint32_t>(w) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// Rows that a matrix multiplies; for int8 and four bits also rounded, x = rounded * scale of the block. Where weights
// are read as w + 128, `offsets` is what that adds to a row's sum in int8, `quads` what takes it from each four's.
struct Operand {
    const float* x;  // (rows, inputs)
    int rows, inputs;
    const int8_t* rounded;          // (rows, inputs)
    const float *scales, *offsets;  // (rows, blocks), (rows)
    const int32_t* quads;           // (rows, inputs / 4), for four bits
};

inline int blocks_of(int inputs) { return (inputs + BLOCK - 1) / BLOCK; }
inline int fours_of(int inputs) { return (inputs + 3) / 4; }

// Floats that `operand_of` wants.
inline int64_t operand_scratch(int rows, int inputs) {
    return static_cast<int64_t>(rows) * (2 * fours_of(inputs) + blocks_of(inputs) + 1);
}

inline float round_block(const float* x, int count, int8_t* rounded, int32_t* sum) {
    int32_t bits = 0;  // of the largest: sizes are ordered as their bits are, and compilers vectorise those
    for (int k = 0; k < count; ++k) {
        int32_t size;
        std::memcpy(&size, x + k, sizeof size);
        size &= 0x7FFFFFFF;
        bits = size > bits ? size : bits;
    }
    float most;
    std::memcpy(&most, &bits, sizeof most);
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

// Rounds one row; returns its offset.
inline float round_row(const float* x, int inputs, int8_t* rounded, float* scales) {
    float offset = 0.0f;
    for (int block = 0; block < blocks_of(inputs); ++block) {
        const int from = block * BLOCK, count = inputs - from < BLOCK ? inputs - from : BLOCK;
        int32_t sum;
        scales[block] = round_block(x + from, count, rounded + from, &sum);
        if (count == BLOCK) offset += scales[block] * static_cast<float>(128 * sum);  // the rest is read as it is
    }
    return offset;
}

// -128 times the sum of each four.
inline void sum_fours(const int8_t* values, int inputs, int32_t* quads) {
    for (int k = 0; k < inputs / 4; ++k)
        quads[k] = -128 * (values[4 * k] + values[4 * k + 1] + values[4 * k + 2] + values[4 * k + 3]);
}

// What a matrix of this kind reads, rounded into `room` (operand_scratch floats) if need be.
inline Operand operand_of(const Matrix& m, const float* x, int rows, float* room) {
    if (!is_rounded(m.kind)) return {x, rows, m.inputs, nullptr, nullptr, nullptr, nullptr};
    const int64_t blocks = blocks_of(m.inputs), fours = fours_of(m.inputs);
    float *scales = room, *offsets = scales + rows * blocks;
    int32_t* quads = reinterpret_cast<int32_t*>(offsets + rows);
    int8_t* rounded = reinterpret_cast<int8_t*>(quads + rows * fours);
    for (int64_t row = 0; row < rows; ++row) {
        int8_t* to = rounded + row * m.inputs;
        offsets[row] = round_row(x + row * m.inputs, m.inputs, to, scales + row * blocks);
        if (READS_UNSIGNED && m.kind == INT4) sum_fours(to, m.inputs, quads + row * fours);
    }
    return {x, rows, m.inputs, rounded, scales, offsets, quads};
}

}  // namespace
