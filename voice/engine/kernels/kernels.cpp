// The CPU's tight loop, as native.py calls it through ctypes; the structs mirror it.

#include <cstdint>
#include <omp.h>

#include "draw.hpp"
#include "functions.hpp"
#include "matrix.hpp"
#include "products.hpp"
#include "step.hpp"

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
int64_t stack_scratch(const StackWeights* s, int32_t rows, int32_t team) { return Step::scratch(*s, rows, team); }

// Run x (rows, width) through all layers and the final norm, in place. Row r is position at[r] of slot slots[r]; it
// sees the positions before it, those of rows beside it included. With a head (or null) also y (rows, outputs).
void stack_step(const StackWeights* s, float* x, int32_t rows, const int32_t* slots, const int32_t* at, float* scratch,
                int32_t team, const Matrix* head, float* y) {
    Step step(*s, x, rows, slots, at, scratch);
#pragma omp parallel num_threads(team)
    step.run(Member{omp_get_thread_num(), omp_get_num_threads()}, head, y);  // fewer than `team`, if the system says so
    step.norm();
}

// Floats that `matrix_product` wants as scratch.
int64_t matrix_scratch(const Matrix* m, int32_t rows) { return operand_scratch(rows, m->inputs); }

// y (rows, outputs) = x (rows, inputs) times the matrix.
void matrix_product(const Matrix* m, const float* x, int32_t rows, float* y, float* scratch, int32_t team) {
    const Operand operand = operand_of(*m, x, rows, scratch);
#pragma omp parallel num_threads(team)
    {
        const Member me{omp_get_thread_num(), omp_get_num_threads()};
        const int first = me.first(m->outputs);
        outputs_of(*m, first, me.end(m->outputs), operand, y + first, m->outputs);
    }
}

// A code for each row of logits (rows, vocabulary), by one uniform number each.
void draw(const float* logits, int32_t rows, int32_t vocabulary, int32_t width, const float* uniforms,
          const Settings* settings, int64_t* codes) {
    Draw drawing(vocabulary, width);
    for (int row = 0; row < rows; ++row)
        codes[row] = drawing.code(logits + static_cast<int64_t>(row) * vocabulary, uniforms[row], *settings, row);
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
