// A step of a decoder stack: a few rows through all layers, by a team of threads that stays together.
//
// A step reads every weight once and does little with it, so the bandwidth of memory is its floor.

#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <sched.h>

#include "functions.hpp"
#include "matrix.hpp"
#include "products.hpp"

namespace {

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

// Threads of one team wait for each other here. They spin, for a step is over in milliseconds, but give the core away
// where others want it.
class Barrier {
   public:
    void wait(int team) {
        int turn = turn_.load(std::memory_order_acquire);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == team) {
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
    std::atomic<int> arrived_{0}, turn_{0};
};

// One thread of a team, and its part of what there is to do.
struct Member {
    int thread, team;
    int first(int count) const { return count * thread / team; }
    int end(int count) const { return count * (thread + 1) / team; }
};

class Step {
   public:
    Step(const StackWeights& s, float* x, int rows, const int32_t* slots, const int32_t* at, float* scratch)
        : s_(s), x_(x), rows_(rows), slots_(slots), at_(at) {
        query_ = scratch;
        mixed_ = query_ + static_cast<int64_t>(rows) * s.heads * s.head_dim;
        inner_ = mixed_ + static_cast<int64_t>(rows) * s.heads * s.head_dim;
        own_ = inner_ + static_cast<int64_t>(rows) * s.inner;
        own_size_ = own_scratch(s, rows);
    }

    // Floats that a team wants.
    static int64_t scratch(const StackWeights& s, int rows, int team) {
        return static_cast<int64_t>(rows) * (2 * s.heads * s.head_dim + s.inner) + team * own_scratch(s, rows);
    }

    // Each thread of the team calls it. y (rows, outputs) is what the head makes of the last layer's, normed; or null.
    void run(Member me, const Matrix* head, float* y) {
        float* normed = own_ + me.thread * own_size_;
        float* heads = normed + static_cast<int64_t>(rows_) * s_.width;
        float* sums = heads + static_cast<int64_t>(rows_) * s_.head_dim;
        float* scores = sums + 2 * TILE * rows_;
        float* room = scores + s_.positions;
        for (int index = 0; index < s_.layers; ++index) {
            const LayerWeights& layer = s_.layer[index];
            norm_rows(layer.before_attention, normed);
            project_heads(layer, index, operand_of(layer.qkv, normed, rows_, room), heads, me);
            barrier_.wait(me.team);
            attend(index, scores, me);
            barrier_.wait(me.team);
            add_outputs(layer.out, operand_of(layer.out, mixed_, rows_, room), sums, me);
            barrier_.wait(me.team);
            norm_rows(layer.before_mlp, normed);
            gate(layer.gate_up, operand_of(layer.gate_up, normed, rows_, room), sums, me);
            barrier_.wait(me.team);
            add_outputs(layer.down, operand_of(layer.down, inner_, rows_, room), sums, me);
            barrier_.wait(me.team);
        }
        if (!head) return;
        norm_rows(s_.norm, normed);
        const int first = me.first(head->outputs);
        outputs_of(*head, first, me.end(head->outputs), operand_of(*head, normed, rows_, room), y + first,
                   head->outputs);
    }

    // In place, once all have run.
    void norm() { norm_rows(s_.norm, x_); }

   private:
    // Floats that each thread wants for itself.
    static int64_t own_scratch(const StackWeights& s, int rows) {
        const int mixed = s.heads * s.head_dim, most = s.inner > mixed ? s.inner : mixed;
        return static_cast<int64_t>(rows) * (s.width + s.head_dim + 2 * TILE) + s.positions +
               operand_scratch(rows, most > s.width ? most : s.width);
    }

    float* cached(float* cache, int layer, int slot, int head, int at) const {
        int64_t row = ((static_cast<int64_t>(layer) * s_.slots + slot) * s_.kv_heads + head) * s_.positions + at;
        return cache + row * s_.head_dim;
    }

    void norm_rows(const float* weight, float* to) const {
        for (int row = 0; row < rows_; ++row)
            rms_norm(x_ + row * s_.width, weight, s_.width, s_.epsilon, to + row * s_.width);
    }

    void project_heads(const LayerWeights& layer, int index, const Operand& x, float* heads, Member me) {
        const int dim = s_.head_dim, turned = s_.heads + s_.kv_heads;
        for (int h = me.first(turned + s_.kv_heads); h < me.end(turned + s_.kv_heads); ++h) {
            outputs_of(layer.qkv, h * dim, (h + 1) * dim, x, heads, dim);
            for (int row = 0; row < rows_; ++row) {
                float* from = heads + row * dim;
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

    void attend(int index, float* scores, Member me) {
        const int dim = s_.head_dim, group = s_.heads / s_.kv_heads;
        const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
        for (int item = me.first(rows_ * s_.heads); item < me.end(rows_ * s_.heads); ++item) {
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

    void add_outputs(const Matrix& matrix, const Operand& x, float* sums, Member me) {
        for (int first = me.first(matrix.outputs), end; first < me.end(matrix.outputs); first = end) {
            end = std::min(first + TILE, me.end(matrix.outputs));
            outputs_of(matrix, first, end, x, sums, TILE);
            for (int row = 0; row < rows_; ++row)
                for (int output = first; output < end; ++output)
                    x_[row * s_.width + output] += sums[row * TILE + output - first];
        }
    }

    void gate(const Matrix& matrix, const Operand& x, float* gates, Member me) {
        float* ups = gates + TILE * rows_;
        for (int first = me.first(s_.inner), end; first < me.end(s_.inner); first = end) {
            end = std::min(first + TILE, me.end(s_.inner));
            outputs_of(matrix, first, end, x, gates, TILE);
            outputs_of(matrix, s_.inner + first, s_.inner + end, x, ups, TILE);
            for (int row = 0; row < rows_; ++row) {
                float* to = inner_ + static_cast<int64_t>(row) * s_.inner + first;
                const float *g = gates + row * TILE, *up = ups + row * TILE;
                for (int i = 0; i < end - first; ++i) to[i] = g[i] / (1.0f + fast_exp(-g[i])) * up[i];
            }
        }
    }

    const StackWeights& s_;
    float* x_;
    const int rows_;
    const int32_t *slots_, *at_;
    Barrier barrier_;
    float *query_, *mixed_, *inner_, *own_;
    int64_t own_size_;
};

}  // namespace
