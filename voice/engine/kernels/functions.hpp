// Functions of single numbers and rows.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

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

}  // namespace
