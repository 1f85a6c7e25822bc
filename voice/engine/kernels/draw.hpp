// How a code is drawn, as sampling.py says: temperature, top-k, top-p over the likeliest codes, then a uniform number.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

namespace {

// Sampling of each row.
struct Settings {
    const float *temperature, *top_p;
    const int64_t* top_k;
    const uint8_t* greedy;
};

constexpr int NARROW = 64;  // sampling.py's

class Draw {
   public:
    Draw(int vocabulary, int width) : width_(std::min(vocabulary, width)), keys_(vocabulary), values_(width_) {}

    int64_t code(const float* logits, float uniform, const Settings& settings, int row) {
        rank(logits);
        if (settings.greedy[row]) return code_at(0);
        for (int i = 0; i < width_; ++i) values_[i] = logits[code_at(i)] / settings.temperature[row];
        int left = top_k(settings.top_k[row]);
        for (int i = left - 1; i >= 0; --i) values_[i] = std::exp(values_[i] - values_[0]);
        if (settings.top_p[row] < 1.0f) left = top_p(left, settings.top_p[row]);
        return code_at(invert(left, uniform));
    }

   private:
    // Keys of the likeliest codes, the highest first; of equal logits the smaller code: bits of a float that are
    // ordered as it is, and behind them the code's rank.
    void rank(const float* logits) {
        const int64_t vocabulary = static_cast<int64_t>(keys_.size());
        for (int64_t code = 0; code < vocabulary; ++code) {
            const float logit = logits[code] + 0.0f;  // -0.0 becomes 0.0
            int32_t bits;
            std::memcpy(&bits, &logit, sizeof bits);
            const int64_t ordered = bits < 0 ? bits ^ 0x7FFFFFFF : bits;
            keys_[code] = ordered * (int64_t{1} << 32) + (vocabulary - 1 - code);
        }
        const auto last = keys_.begin() + width_;
        if (last != keys_.end()) std::nth_element(keys_.begin(), last - 1, keys_.end(), std::greater<>());
        std::sort(keys_.begin(), last, std::greater<>());
    }

    int64_t code_at(int i) const { return static_cast<int64_t>(keys_.size()) - 1 - (keys_[i] & 0xFFFFFFFF); }

    // How many are as likely as the k-th at least, of those that it looks at, whatever other rows ask for.
    int top_k(int64_t k) const {
        const int width = k <= NARROW ? std::min(width_, NARROW) : width_;
        int left = static_cast<int>(std::min<int64_t>(k, width));
        while (left < width && values_[left] >= values_[left - 1]) ++left;
        return left;
    }

    // How many are left without those who, with all less likely ones, have 1 - p at most. The likeliest stays.
    int top_p(int left, float p) const {
        const double total = sum(left), most = static_cast<double>(1.0f - p) * total;
        double rest = 0.0;
        for (; left > 1; --left) {
            rest += values_[left - 1];
            if (rest > most) break;
        }
        return left;
    }

    int invert(int left, float uniform) const {
        const double wanted = uniform * sum(left);
        double summed = 0.0;
        for (int i = 0; i < left; ++i) {
            summed += values_[i];
            if (!(summed <= wanted)) return i;  // where likelihoods overflow, too: the likeliest
        }
        return left - 1;
    }

    double sum(int count) const {
        double total = 0.0;
        for (int i = 0; i < count; ++i) total += values_[i];
        return total;
    }

    const int width_;
    std::vector<int64_t> keys_;
    std::vector<float> values_;  // logits, then likelihoods over the likeliest's
};

}  // namespace
