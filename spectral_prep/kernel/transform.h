// The transforms of `spectral.h`, and what makes one source do for CUDA and C++: DCT-II of any length and its inverse.
//
// ORDER OF OPERATIONS, the same in every build: a DCT of even length m folds x into sums and differences
// (x[n] ± x[m−1−n]); the differences give the odd coefficients, each a chain of multiply-adds over n = 0, 1, …;
// the sums are a DCT of length m/2 for the even ones. An odd length is folded once. About L²/3 multiply-adds.

#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define SPECTRAL_DEVICE __device__ __forceinline__
#define SPECTRAL_CONSTANT __device__ const
#define SPECTRAL_ANYWHERE __host__ __device__
#define SPECTRAL_UNROLL(count) SPECTRAL_PRAGMA(unroll(count))
#define SPECTRAL_PRAGMA(text) _Pragma(#text)
#else
#define SPECTRAL_DEVICE inline __attribute__((always_inline))
#define SPECTRAL_CONSTANT const
#define SPECTRAL_ANYWHERE
#define SPECTRAL_UNROLL(count)
#endif

namespace spectral {

enum Transform { DCT = 0, DCT2 = 1, NONE = 2 };

[[maybe_unused]] constexpr int UNROLLED = 64;  // longest DCT, and largest grid, that is unrolled into registers
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
[[maybe_unused]] constexpr int CHAINS = 4;     // coefficients computed side by side; a thread has no registers for more
#else
[[maybe_unused]] constexpr int CHAINS = 8;
#endif
[[maybe_unused]] constexpr int PIECE = UNROLLED / 2;  // terms of a rolled sum that are added one to another

// ---- cosines, in double at compile time, rounded once to float ------------------------------------------------------

SPECTRAL_ANYWHERE constexpr double square_root(double x) {
    double root = x < 1 ? 1 : x;
    for (int i = 0; i < 40; ++i) root = 0.5 * (root + x / root);
    return root;
}

// cos(π·m / (2·length)) for any m ≥ 0: exact reduction to an eighth of a turn, then Taylor.
SPECTRAL_ANYWHERE constexpr double cosine(int m, int length) {
    m %= 4 * length;
    if (m > 2 * length) m = 4 * length - m;
    const bool negative = m > length;
    if (negative) m = 2 * length - m;
    const bool sine = 2 * m > length;
    const double angle = 1.5707963267948966192313 * (sine ? length - m : m) / length;
    double term = sine ? angle : 1, sum = term;
    for (int i = sine ? 2 : 1; i < 24; i += 2) {
        term *= -angle * angle / (i * (i + 1));
        sum += term;
    }
    return negative ? -sum : sum;
}

// at[m] = √(2/length)·cos(π·m / (2·length)) serves every level of the recursion; mean = √(1/length) is coefficient 0.
template <int longest>
struct Cosines {
    float at[4 * longest];
    float mean;
    SPECTRAL_ANYWHERE constexpr explicit Cosines(int length) : at(), mean(static_cast<float>(square_root(1.0 / length))) {
        const double scale = square_root(2.0 / length);
        for (int m = 0; m < 4 * length; ++m) at[m] = static_cast<float>(scale * cosine(m, length));
    }
};

template <int length>
struct Unrolled {
    static constexpr Cosines<length> cosines{length};
    template <int m>
    struct At { static constexpr float value = cosines.at[m % (4 * length)]; };
    static constexpr float mean = cosines.mean;
};

template <int length>
SPECTRAL_CONSTANT Cosines<length> rolled_cosines{length};

// ---- arithmetic: V is float, or a struct of lanes with + − and its own multiply_add(V, float, V), multiply(V, float) --

SPECTRAL_DEVICE float multiply_add(float a, float b, float c) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
    return __fmaf_rn(a, b, c);
#else
    return __builtin_fmaf(a, b, c);
#endif
}
SPECTRAL_DEVICE float multiply(float a, float b) { return a * b; }

template <int... n> struct Indices {};
template <int count, int... n> struct Count : Count<count - 1, count - 1, n...> {};
template <int... n> struct Count<0, n...> { using type = Indices<n...>; };
template <int count> using UpTo = typename Count<(count > 0 ? count : 0)>::type;

template <int length, int first, int advance, int factor, class V, int... place>
SPECTRAL_DEVICE void link(V* sums, V x, Indices<place...>) {
    ((sums[place] = multiply_add(x, Unrolled<length>::template At<factor * (first + place * advance)>::value, sums[place])),
     ...);
}
// Coefficients k = first + place·advance for every place: Σ over n of x[n·stride]·cosine((2n+1)·k), n in order. A few at
// a time, so that their chains overlap and share the loads of x.
template <int length, int first, int advance, int stride, class V, class Sink, int... place, int... n>
SPECTRAL_DEVICE void chains(const V* x, Sink& sink, Indices<place...> places, Indices<n...>) {
    V sums[] = {multiply(x[0], Unrolled<length>::template At<first + place * advance>::value)...};
    (link<length, first, advance, 2 * n + 3>(sums, x[(n + 1) * stride], places), ...);
    (sink(first + place * advance, sums[place]), ...);
}
template <int length, int first, int advance, int outputs, int inputs, int stride, class V, class Sink>
SPECTRAL_DEVICE void product(const V* x, Sink& sink) {
    constexpr int now = outputs < CHAINS ? outputs : CHAINS;
    if constexpr (now > 0) {
        chains<length, first, advance, stride>(x, sink, UpTo<now>{}, UpTo<inputs - 1>{});
        product<length, first + now * advance, advance, outputs - now, inputs, stride>(x, sink);
    }
}

// ---- DCT-II of x, unrolled; x is consumed. Sink(k, coefficient) takes each as soon as it is done ---------------------

template <int length, int m>
struct Forward {
    static constexpr int step = length / m, half = m / 2;

    template <class V, class Sink>
    static SPECTRAL_DEVICE void run(V* x, Sink& sink) {
        fold(x, UpTo<half>{});
        product<length, step, 2 * step, half, half, -1>(x + m - 1, sink);
        if constexpr (m % 2 == 0) {
            Forward<length, half>::run(x, sink);
        } else {
            product<length, 2 * step, 2 * step, half, half + 1, 1>(x, sink);
            V sum = x[0];
            total(sum, x, UpTo<half>{});
            sink(0, multiply(sum, Unrolled<length>::mean));
        }
    }
    template <class V, int... n>
    static SPECTRAL_DEVICE void fold(V* x, Indices<n...>) { (fold_pair(x[n], x[m - 1 - n]), ...); }
    template <class V>
    static SPECTRAL_DEVICE void fold_pair(V& near, V& far) {
        const V sum = near + far;
        far = near - far;
        near = sum;
    }
    template <class V, int... n>
    static SPECTRAL_DEVICE void total(V& sum, const V* x, Indices<n...>) { ((sum = sum + x[n + 1]), ...); }
};

// ---- its inverse: coefficients X[0 … length−1] to x, level by level from the shortest --------------------------------

template <class V>
struct Unfold {  // a sink: what the odd coefficients make of x[n] comes as number (2n+1)·step
    V* x;
    int m, step;
    SPECTRAL_DEVICE void operator()(int number, V difference) const {
        const int n = number / step / 2;
        x[m - 1 - n] = x[n] - difference;
        x[n] = x[n] + difference;
    }
};

template <int length, int m>
struct Inverse {
    static constexpr int step = length / m, half = m / 2;

    template <class V>
    static SPECTRAL_DEVICE void run(const V* X, V* x) {
        if constexpr (m % 2 == 0) Inverse<length, half>::run(X, x);
        else sums(X, x, UpTo<half + 1>{});
        Unfold<V> sink{x, m, step};
        product<length, step, 2 * step, half, half, 2 * step>(X + step, sink);
    }
    template <class V, int... n>
    static SPECTRAL_DEVICE void sums(const V* X, V* x, Indices<n...>) { ((x[n] = even<n>(X, UpTo<half>{})), ...); }
    template <int n, class V, int... k>
    static SPECTRAL_DEVICE V even(const V* X, Indices<k...>) {
        V sum = multiply(X[0], Unrolled<length>::mean);
        ((sum = multiply_add(X[step * (2 * k + 2)],
                             Unrolled<length>::template At<(2 * n + 1) * step * (2 * k + 2)>::value, sum)), ...);
        return sum;
    }
};

// ---- the same two, rolled: any length at run time, the same operations in the same order -----------------------------

// In pieces of PIECE terms, then the pieces summed: a chain of 128 would lose a bit too many. No unrolled chain is longer.
template <class V>
SPECTRAL_DEVICE V rolled_dot(const V* x, int stride, int count, int first, int advance, const float* at, int period) {
    V total{};
    for (int begin = 0, m = first; begin < count; begin += PIECE) {
        V sum = multiply(x[begin * stride], at[m]);
        for (int n = begin + 1; n < begin + PIECE && n < count; ++n) {
            m += m + advance < period ? advance : advance - period;
            sum = multiply_add(x[n * stride], at[m], sum);
        }
        m += m + advance < period ? advance : advance - period;
        total = begin ? total + sum : sum;
    }
    return total;
}

template <class V, class Sink>
SPECTRAL_DEVICE void forward_rolled(V* x, int length, const float* at, float mean, Sink& sink) {
    const int period = 4 * length;
    int m = length, step = 1;
    for (;; m /= 2, step *= 2) {
        for (int n = 0; n < m / 2; ++n) Forward<2, 2>::fold_pair(x[n], x[m - 1 - n]);
        for (int k = step; k < length; k += 2 * step)
            sink(k, rolled_dot(x + m - 1, -1, m / 2, k, 2 * k, at, period));
        if (m % 2) break;
    }
    for (int k = 2 * step; k < length; k += 2 * step) sink(k, rolled_dot(x, 1, m / 2 + 1, k, 2 * k, at, period));
    V sum = x[0];
    for (int n = 1; n <= m / 2; ++n) sum = sum + x[n];
    sink(0, multiply(sum, mean));
}

template <class V>
SPECTRAL_DEVICE void inverse_rolled(const V* X, V* x, int length, const float* at, float mean) {
    const int period = 4 * length;
    int m = length;
    while (m % 2 == 0) m /= 2;
    for (int n = 0; n <= m / 2; ++n) {
        const int step = length / m;
        x[n] = multiply(X[0], mean);
        for (int k = 1; k <= m / 2; ++k)
            x[n] = multiply_add(X[2 * k * step], at[(2 * n + 1) * (2 * k) * step % period], x[n]);
    }
    for (;; m *= 2) {
        const int step = length / m;
        for (int n = 0; n < m / 2; ++n) {
            const int first = (2 * n + 1) * step;
            const V difference = rolled_dot(X + step, 2 * step, m / 2, first, 2 * first, at, period);
            Unfold<V>{x, m, step}(first, difference);
        }
        if (m == length) break;
    }
}

// ---- the transform of one channel of one site ------------------------------------------------------------------------

template <class V>
struct Into {  // a sink: coefficient k goes to out[k·stride]
    V* out;
    int stride;
    SPECTRAL_DEVICE void operator()(int k, V value) const { out[k * stride] = value; }
};

template <class Sink>
struct Row {  // a sink: coefficient v of row u is coefficient u·Q2 + v
    Sink& sink;
    int first;
    template <class V>
    SPECTRAL_DEVICE void operator()(int k, V value) const { sink(first + k, value); }
};

template <int length, class V, class Sink>
SPECTRAL_DEVICE void forward(V* x, Sink& sink) {
    if constexpr (length <= UNROLLED) Forward<length, length>::run(x, sink);
    else forward_rolled(x, length, rolled_cosines<length>.at, rolled_cosines<length>.mean, sink);
}

template <int length, class V>
SPECTRAL_DEVICE void inverse(const V* X, V* x) {
    if constexpr (length <= UNROLLED) Inverse<length, length>::run(X, x);
    else inverse_rolled(X, x, length, rolled_cosines<length>.at, rolled_cosines<length>.mean);
}

template <int Q1, int Q2, int transform, class V, class Sink>
SPECTRAL_DEVICE void forward(V* x, Sink& sink) {
    constexpr int Q = Q1 * Q2;
    if constexpr (transform == DCT) {
        forward<Q>(x, sink);
    } else if constexpr (transform == DCT2) {
        SPECTRAL_UNROLL(Q <= UNROLLED ? Q2 : 1)
        for (int j = 0; j < Q2; ++j) {
            V column[Q1];
            SPECTRAL_UNROLL(Q1 <= UNROLLED ? Q1 : 1)
            for (int i = 0; i < Q1; ++i) column[i] = x[i * Q2 + j];
            Into<V> back{x + j, Q2};
            forward<Q1>(column, back);
        }
        SPECTRAL_UNROLL(Q <= UNROLLED ? Q1 : 1)
        for (int u = 0; u < Q1; ++u) {
            Row<Sink> row{sink, u * Q2};
            forward<Q2>(x + u * Q2, row);
        }
    } else {
        SPECTRAL_UNROLL(Q <= UNROLLED ? Q : 1)
        for (int k = 0; k < Q; ++k) sink(k, x[k]);
    }
}

template <int Q1, int Q2, int transform, class V>
SPECTRAL_DEVICE void inverse(V* X, V* x) {  // X is consumed
    constexpr int Q = Q1 * Q2;
    if constexpr (transform == DCT) {
        inverse<Q>(X, x);
    } else if constexpr (transform == DCT2) {
        SPECTRAL_UNROLL(Q <= UNROLLED ? Q1 : 1)
        for (int u = 0; u < Q1; ++u) inverse<Q2>(X + u * Q2, x + u * Q2);
        SPECTRAL_UNROLL(Q <= UNROLLED ? Q2 : 1)
        for (int j = 0; j < Q2; ++j) {
            V column[Q1], pixels[Q1];
            SPECTRAL_UNROLL(Q1 <= UNROLLED ? Q1 : 1)
            for (int i = 0; i < Q1; ++i) column[i] = x[i * Q2 + j];
            inverse<Q1>(column, pixels);
            SPECTRAL_UNROLL(Q1 <= UNROLLED ? Q1 : 1)
            for (int i = 0; i < Q1; ++i) x[i * Q2 + j] = pixels[i];
        }
    } else {
        SPECTRAL_UNROLL(Q <= UNROLLED ? Q : 1)
        for (int k = 0; k < Q; ++k) x[k] = X[k];
    }
}

}  // namespace spectral
