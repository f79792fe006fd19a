// What a counter with dead time records of a true rate.
#pragma once

#include <cmath>

#include "core.hpp"

namespace gammanav {

// The recorded rate, its slope, and slope / recorded.
struct Recorded {
    float rate, slope, per_count;
};

inline Recorded recorded_below(const Counter& counter, float rate) {
    const float x = counter.dead_time * rate;
    if (counter.paralysable) {
        // In double: single-precision exponentials differ from one C library to the next.
        const float kept = static_cast<float>(std::exp(-static_cast<double>(x)));
        return {rate * kept, kept * (1.0f - x), (1.0f - x) / rate};
    }
    const float slow = 1.0f / (1.0f + x);
    return {rate * slow, slow * slow, slow / rate};
}

// Beyond the rate of saturation the recorded rate goes on along its tangent.
inline Recorded recorded(const Counter& counter, float rate) {
    if (rate <= counter.limit) return recorded_below(counter, rate);
    Recorded r = recorded_below(counter, counter.limit);
    r.rate += r.slope * (rate - counter.limit);
    r.per_count = r.slope / r.rate;
    return r;
}

// Factors of a row in the gain and in the loss of an EM update: d log L / d rate = gain - loss.
struct RowWeights {
    float gain, loss;
};

// Rates below this (cps) count as this.
inline constexpr float kSmallestRate = 1e-6f;

inline RowWeights em_weights(const Counter& counter, float rate, float counts, float live, bool saturated) {
    const Recorded r = recorded(counter, rate > kSmallestRate ? rate : kSmallestRate);
    const float bound = live * r.rate;
    const float y = saturated && bound > counts ? bound : counts;
    return {y * r.per_count, live * r.slope};
}

}  // namespace gammanav
