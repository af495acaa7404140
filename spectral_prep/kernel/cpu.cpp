// The CPU kernel: split and merge over a range of sites, as a plain C library that `cpu.py` loads.
//
// A strip of STRIP sites at a time, everything between input and output in the L1 cache:
//   1. gather the pixels of the strip into lines (`strip.h`);
//   2. transform them, Lanes::count sites in a register, by the functions of `spectral.h`, and encode each coefficient
//      into its spectral's line as soon as it is done;
//   3. put each line to its place. The spectrals lie far apart, often at a multiple of the cache's period, so that
//      writing them directly evicts half-written cache lines; and a large spectrum is not read again soon, so whole
//      cache lines of it go past the cache, which need not load them first.
// merge runs the same three backwards. Compiled once for each instruction set (see setup.py), with equal results.

#include <cstdlib>

#include "strip.h"

namespace spectral {
namespace {

constexpr int MAX_Q = 256;
constexpr Index SUMMED = 1 << 16;  // squares of int8 that an int holds
constexpr Index PAST_CACHE = 1 << 20;  // bytes from which a spectrum is written past the cache

// ---- transforms of any length: unrolled where common, rolled otherwise ----------------------------------------------

// x is consumed; result k goes to out[k·stride]. `at` and `mean` are the rolled form's cosines.
using Line = void (*)(Lanes* x, Lanes* out, int stride, int length, const float* at, float mean);

template <int length>
void unrolled_forward(Lanes* x, Lanes* out, int stride, int, const float*, float) {
    Into<Lanes> sink{out, stride};
    Forward<length, length>::run(x, sink);
}
void any_forward(Lanes* x, Lanes* out, int stride, int length, const float* at, float mean) {
    Into<Lanes> sink{out, stride};
    forward_rolled(x, length, at, mean, sink);
}
template <int length>
void unrolled_inverse(Lanes* X, Lanes* out, int stride, int, const float*, float) {
    Lanes x[length];
    Inverse<length, length>::run(X, x);
    for (int n = 0; n < length; ++n) out[n * stride] = x[n];
}
void any_inverse(Lanes* X, Lanes* out, int stride, int length, const float* at, float mean) {
    Lanes x[MAX_Q];
    inverse_rolled(X, x, length, at, mean);
    for (int n = 0; n < length; ++n) out[n * stride] = x[n];
}

#define LENGTHS(each) \
    each(1) each(2) each(3) each(4) each(5) each(6) each(7) each(8) each(9) each(10) each(12) each(14) each(16) \
    each(25) each(28) each(32) each(36) each(49) each(64)

Line forward_line(int length) {
    switch (length) {
#define FORWARD(length) case length: return unrolled_forward<length>;
        LENGTHS(FORWARD)
#undef FORWARD
        default: return any_forward;
    }
}
Line inverse_line(int length) {
    switch (length) {
#define INVERSE(length) case length: return unrolled_inverse<length>;
        LENGTHS(INVERSE)
#undef INVERSE
        default: return any_inverse;
    }
}

// The cosines of one length, computed on first use and kept; null when memory is short.
const Cosines<MAX_Q>* cosines_of(int length) {
    static const Cosines<MAX_Q>* known[MAX_Q + 1];
    const Cosines<MAX_Q>* found = __atomic_load_n(&known[length], __ATOMIC_ACQUIRE);
    if (found) return found;
    auto* fresh = static_cast<Cosines<MAX_Q>*>(std::malloc(sizeof(Cosines<MAX_Q>)));
    if (!fresh) return nullptr;
    *fresh = Cosines<MAX_Q>{length};
    if (__atomic_compare_exchange_n(&known[length], &found, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return fresh;
    std::free(fresh);
    return found;
}

struct Direction {  // one of the two lines, with the cosines of its length
    Line line;
    int length;
    const Cosines<MAX_Q>* cosines;
    void operator()(Lanes* x, Lanes* out, int stride) const {
        line(x, out, stride, length, cosines->at, cosines->mean);
    }
};

struct Plan {  // Q values of Lanes::count sites from x to out[k·stride]; x is consumed
    int q1, q2, transform;
    bool inverse;
    Direction whole, down, right;

    bool prepare() { return find(whole, q1 * q2) && find(down, q1) && find(right, q2); }
    void run(Lanes* x, Lanes* out, int stride) const {
        if (transform == DCT) {
            whole(x, out, stride);
        } else if (transform == NONE) {
            for (int k = 0; k < q1 * q2; ++k) out[k * stride] = x[k];
        } else if (!inverse) {
            columns(x, x, 1);
            for (int u = 0; u < q1; ++u) right(x + u * q2, out + u * q2 * stride, stride);
        } else {
            Lanes rows[MAX_Q];
            for (int u = 0; u < q1; ++u) right(x + u * q2, rows + u * q2, 1);
            columns(rows, out, stride);
        }
    }

private:
    bool find(Direction& direction, int length) const {
        direction = {inverse ? inverse_line(length) : forward_line(length), length, cosines_of(length)};
        return direction.cosines;
    }
    void columns(const Lanes* x, Lanes* out, int stride) const {
        for (int j = 0; j < q2; ++j) {
            Lanes column[MAX_Q];
            for (int i = 0; i < q1; ++i) column[i] = x[i * q2 + j];
            down(column, out + j * stride, q2 * stride);
        }
    }
};

// ---- lines to spectrals and back -------------------------------------------------------------------------------------

template <class Stored>
struct Encode {  // a sink: coefficient k of Lanes::count sites, encoded, to its spectral's line
    Stored* lines;
    const float *multiplier, *shift;
    SPECTRAL_DEVICE void operator()(int k, Lanes value) const {
        if constexpr (packed<Stored>) value = multiply_add(value, multiplier[k], broadcast(shift[k]));
        write(lines + k * STRIP, value);
    }
};

template <class Stored>
void put(const Stored* line, const Strip& strip, bool past_cache, Stored* out) {
    if (strip.runs == 1 && strip.count == STRIP) {
        out += strip.run[0].offset;
        if (past_cache && reinterpret_cast<uintptr_t>(out) % LINE == 0)
            for (int i = 0; i < STRIP; i += LINE / static_cast<int>(sizeof(Stored))) stream(out + i, line + i);
        else
            std::memcpy(out, line, STRIP * sizeof(Stored));
        return;
    }
    for (int r = 0; r < strip.runs; line += strip.run[r++].length)
        std::memcpy(out + strip.run[r].offset, line, strip.run[r].length * sizeof(Stored));
}

template <class Stored>
void decode(const Stored* in, const Strip& strip, float scale, float offset, Lanes* coefficients) {
    alignas(64) Stored line[STRIP] = {};
    int filled = 0;
    for (int r = 0; r < strip.runs; filled += strip.run[r++].length)
        std::memcpy(line + filled, in + strip.run[r].offset, strip.run[r].length * sizeof(Stored));
    for (int v = 0; v < strip.vectors(); ++v) {
        Lanes value = read(line + v * Lanes::count);
        if constexpr (packed<Stored>) value = multiply_add(value, scale, broadcast(offset));
        coefficients[v] = value;
    }
}

// ---- the vectors of a strip, one channel ----------------------------------------------------------------------------

template <class Pixel, class Stored>
using Cells = void (*)(const Word<Pixel>* lines, const Place* places, Encode<Stored> encode, int vectors, const Plan& plan);

template <class Pixel, class Stored>
void any_cells(const Word<Pixel>* lines, const Place* places, Encode<Stored> encode, int vectors, const Plan& plan) {
    const int Q = plan.q1 * plan.q2;
    for (int v = 0; v < vectors; ++v, lines += Lanes::count, encode.lines += Lanes::count) {
        Lanes x[MAX_Q], coefficients[MAX_Q];
        for (int q = 0; q < Q; ++q) x[q] = pixels(lines, places[q]);
        plan.run(x, coefficients, 1);
        for (int k = 0; k < Q; ++k) encode(k, coefficients[k]);
    }
}

#ifdef __FP_FAST_FMAF
template <class W, int... q>
SPECTRAL_DEVICE void read_all(const W* lines, const Place* places, Lanes* x, Indices<q...>) {
    ((x[q] = pixels(lines, places[q])), ...);
}

// Pixels, transform and encoding in registers: for what images are converted to, and where multiply-adds are fast.
template <int length, class Pixel, class Stored>
void dct_cells(const Word<Pixel>* lines, const Place* places, Encode<Stored> encode, int vectors, const Plan&) {
    for (int v = 0; v < vectors; ++v, lines += Lanes::count, encode.lines += Lanes::count) {
        Lanes x[length];
        read_all(lines, places, x, UpTo<length>{});
        Forward<length, length>::run(x, encode);
    }
}

template <class Pixel, class Stored>
Cells<Pixel, Stored> cells_of(const Plan& plan) {
    if constexpr (sizeof(Pixel) == 1 && (packed<Stored> || sizeof(Stored) == 2)) {
        switch (plan.transform == DCT ? plan.q1 * plan.q2 : 0) {
#define CELLS(length) case length: return dct_cells<length, Pixel, Stored>;
            LENGTHS(CELLS)
#undef CELLS
        }
    }
    return any_cells<Pixel, Stored>;
}
#else
template <class Pixel, class Stored>
Cells<Pixel, Stored> cells_of(const Plan&) { return any_cells<Pixel, Stored>; }
#endif

// ---- a range of sites ------------------------------------------------------------------------------------------------

// Memory for `count` numbers, on whole cache lines; null when memory is short.
template <class T>
T* room(size_t count) {
    return static_cast<T*>(std::aligned_alloc(LINE, (count * sizeof(T) + LINE - 1) / LINE * LINE));
}

template <class Pixel, class Stored>
bool split(const Pixel* images, Stored* spectrum, const float* multiplier, const float* shift, const Grid& grid,
           const Plan& plan, Index first, Index stop) {
    const Pieces pieces(grid, sizeof(Pixel) == 1);
    const int Q = grid.q();
    const bool past_cache = grid.spectral * Q * static_cast<Index>(sizeof(Stored)) >= PAST_CACHE;
    const auto cells = cells_of<Pixel, Stored>(plan);
    auto* lines = room<Word<Pixel>>(static_cast<size_t>(pieces.count) * pieces.lines * STRIP);
    auto* places = room<Place>(static_cast<size_t>(Q) * pieces.group);
    auto* encoded = room<Stored>(static_cast<size_t>(Q) * STRIP);
    const bool memory = lines && places && encoded;
    for (int i = 0; memory && i < Q * pieces.group; ++i) places[i] = pieces.place(grid, i % Q, i / Q);
    for (Index site = first; memory && site < stop; site += STRIP) {
        Strip strip;
        strip.place(grid, site, stop);
        for (Index channel = 0; channel < grid.c; ++channel) {
            const int member = static_cast<int>(channel % pieces.group);
            if (member == 0) gather(images, grid, strip, pieces, channel, lines);
            cells(lines, places + member * Q, Encode<Stored>{encoded, multiplier, shift}, strip.vectors(), plan);
            Stored* out = spectrum + channel * grid.h * grid.w;
            for (int k = 0; k < Q; ++k) put(encoded + k * STRIP, strip, past_cache, out + k * grid.spectral);
        }
    }
    if (past_cache) streamed();
    std::free(encoded);
    std::free(places);
    std::free(lines);
    return memory;
}

template <class Pixel, class Stored>
bool merge(const Stored* spectrum, Pixel* images, const float* scale, const float* offset, const Grid& grid,
           const Plan& plan, Index first, Index stop) {
    const int Q = grid.q();
    auto* lines = room<Pixel>(static_cast<size_t>(Q) * STRIP);
    auto* coefficients = room<Lanes>(static_cast<size_t>(Q) * VECTORS);
    const bool memory = lines && coefficients;
    for (Index site = first; memory && site < stop; site += STRIP) {
        Strip strip;
        strip.place(grid, site, stop);
        for (Index channel = 0; channel < grid.c; ++channel) {
            const Stored* in = spectrum + channel * grid.h * grid.w;
            for (int k = 0; k < Q; ++k)
                decode(in + k * grid.spectral, strip, packed<Stored> ? scale[k] : 1, packed<Stored> ? offset[k] : 0,
                       coefficients + k * VECTORS);
            for (int v = 0; v < strip.vectors(); ++v) {
                Lanes X[MAX_Q], x[MAX_Q];
                for (int k = 0; k < Q; ++k) X[k] = coefficients[k * VECTORS + v];
                plan.run(X, x, 1);
                for (int q = 0; q < Q; ++q) write(lines + q * STRIP + v * Lanes::count, x[q]);
            }
            scatter(images, grid, strip, channel, lines);
        }
    }
    std::free(coefficients);
    std::free(lines);
    return memory;
}

struct Totals { Index sum, squares, beyond; };  // beyond the calibrated range: ±127, see `encoding.py`

Totals totals_of(const signed char* values, Index count) {
    Totals all{};
    for (Index first = 0; first < count; first += SUMMED) {
        const Index stop = first + SUMMED < count ? first + SUMMED : count;
        int sum = 0, squares = 0, beyond = 0;
        for (Index i = first; i < stop; ++i) {
            const short value = values[i];
            sum += value;
            squares += value * value;
            beyond += value == 127 || value == -127;
        }
        all = {all.sum + sum, all.squares + squares, all.beyond + beyond};
    }
    return all;
}

// Call with the types that the two numbers of `spectral.h` name.
template <class Call>
bool typed(int pixel, int stored, Call call) {
    const auto with = [&](auto pixels) {
        switch (stored) {
            case 0: return call(pixels, float{});
            case 1: return call(pixels, Half{});
            case 2: return call(pixels, Brain{});
            default: return call(pixels, static_cast<signed char>(0));
        }
    };
    return pixel ? with(float{}) : with(uint8_t{});
}

Grid grid_of(const int* spec, const long long* shape) {
    return {{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5], shape[6], shape[7]},
            shape[8], spec[0], spec[1], spec[2]};
}

}  // namespace
}  // namespace spectral

// spec: q1, q2, layout, transform, pixel, stored, the numbers of `spectral.h`. shape: n, c, h, w, the images' strides of
// N, H, W, C and the distance between spectrals, in elements; each (N, C, h, w) of the spectrum is contiguous. Sites
// first … stop−1 in (n, h, w) order are done. Returns 0, or 1 when memory is short.
extern "C" int spectral_cpu_split(const void* images, void* spectrum, const float* multiplier, const float* shift,
                                  const int* spec, const long long* shape, long long first, long long stop) {
    using namespace spectral;
    const Grid grid = grid_of(spec, shape);
    Plan plan{spec[0], spec[1], spec[3], false, {}, {}, {}};
    return !(plan.prepare() && typed(spec[4], spec[5], [&](auto pixel, auto stored) {
        return split(static_cast<const decltype(pixel)*>(images), static_cast<decltype(stored)*>(spectrum), multiplier,
                     shift, grid, plan, first, stop);
    }));
}

extern "C" int spectral_cpu_merge(const void* spectrum, void* images, const float* scale, const float* offset,
                                  const int* spec, const long long* shape, long long first, long long stop) {
    using namespace spectral;
    const Grid grid = grid_of(spec, shape);
    Plan plan{spec[0], spec[1], spec[3], true, {}, {}, {}};
    return !(plan.prepare() && typed(spec[4], spec[5], [&](auto pixel, auto stored) {
        return merge(static_cast<const decltype(stored)*>(spectrum), static_cast<decltype(pixel)*>(images), scale,
                     offset, grid, plan, first, stop);
    }));
}

// The totals of every channel of every spectral, int8 (Q, N, C, sites), to totals (3, Q, C): sums, squares, beyond.
// shape: q, n, c, sites and the distance between spectrals, in elements; each (N, C, sites) is contiguous.
extern "C" void spectral_cpu_totals(const signed char* spectrum, long long* totals, const long long* shape) {
    using namespace spectral;
    const Index q = shape[0], n = shape[1], c = shape[2], sites = shape[3];
    for (Index k = 0; k < q; ++k)
        for (Index row = 0; row < n; ++row)
            for (Index channel = 0; channel < c; ++channel) {
                const Totals found = totals_of(spectrum + k * shape[4] + (row * c + channel) * sites, sites);
                long long* to = totals + k * c + channel;
                to[0] += found.sum;
                to[q * c] += found.squares;
                to[2 * q * c] += found.beyond;
            }
}

// The instruction sets of this machine that a build exists for: 0 none beyond the baseline, 1 AVX2, 2 AVX-512.
extern "C" int spectral_cpu_level(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd") ? 2 : 1;
#else
    return 0;
#endif
}
