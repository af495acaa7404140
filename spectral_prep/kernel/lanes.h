// A few sites side by side in one vector register: the V that `spectral.h` computes with on a CPU.
//
// 16 lanes with AVX-512, 8 with AVX2, 4 elsewhere; the numbers that come out are the same bits in all three. Each has
//   multiply_add, multiply, +, −   what `spectral.h` asks of a V
//   read, write                    as many numbers as lanes, from and to any stored type
//   turn                           CHUNK bytes of each site to words of all sites
//   read_byte                      one byte of every site's word: shift is 8 times its place in the word
//   stream                         one cache line, aligned, written past the cache; `streamed` ends a series of them

#pragma once

#include <cstdint>
#include <cstring>

#ifdef __SSE2__
#include <immintrin.h>
#endif

#include "spectral.h"

namespace spectral {

constexpr int CHUNK = 16;   // bytes of a site that are loaded at once,
constexpr int WORD = 4;     // kept as words of this many: word d of a site holds its bytes 4·d … 4·d+3, the first lowest
constexpr int LINE = 64;    // bytes of a cache line

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)

struct Lanes {
    static constexpr int count = 16;
    __m512 v;
};
inline Lanes multiply_add(Lanes a, float b, Lanes c) { return {_mm512_fmadd_ps(a.v, _mm512_set1_ps(b), c.v)}; }
inline Lanes multiply(Lanes a, float b) { return {_mm512_mul_ps(a.v, _mm512_set1_ps(b))}; }
inline Lanes read(const float* in) { return {_mm512_loadu_ps(in)}; }
inline Lanes read(const signed char* in) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in))))};
}
inline Lanes read(const Half* in) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(in)))};
}
inline Lanes broadcast(float a) { return {_mm512_set1_ps(a)}; }
inline Lanes read_byte(const uint32_t* words, int shift) {
    const __m512i low = _mm512_srlv_epi32(_mm512_loadu_si512(words), _mm512_set1_epi32(shift));
    return {_mm512_cvtepi32_ps(_mm512_and_si512(low, _mm512_set1_epi32(255)))};
}
struct Words { __m512i of[CHUNK / WORD]; };
inline Words turn(const uint8_t* from, const Index* cells) {
    const auto at = [&](int site) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + cells[site])); };
    __m512i a[4];
    for (int s = 0; s < 4; ++s) {
        a[s] = _mm512_inserti32x4(_mm512_castsi128_si512(at(s)), at(4 + s), 1);
        a[s] = _mm512_inserti32x4(_mm512_inserti32x4(a[s], at(8 + s), 2), at(12 + s), 3);
    }
    const __m512i low = _mm512_unpacklo_epi32(a[0], a[1]), low_too = _mm512_unpacklo_epi32(a[2], a[3]);
    const __m512i high = _mm512_unpackhi_epi32(a[0], a[1]), high_too = _mm512_unpackhi_epi32(a[2], a[3]);
    return {_mm512_unpacklo_epi64(low, low_too), _mm512_unpackhi_epi64(low, low_too),
            _mm512_unpacklo_epi64(high, high_too), _mm512_unpackhi_epi64(high, high_too)};
}
inline void write(float* out, Lanes a) { _mm512_storeu_ps(out, a.v); }
inline void write(Half* out, Lanes a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
inline void write(signed char* out, Lanes a) {
    const __m512 low = _mm512_min_ps(a.v, _mm512_set1_ps(127));
    const __m512i whole = _mm512_cvtps_epi32(_mm512_max_ps(low, _mm512_set1_ps(-127)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8(whole));
}
inline void stream(void* to, const void* from) {
    _mm512_stream_si512(static_cast<__m512i*>(to), _mm512_load_si512(from));
}

#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

struct Lanes {
    static constexpr int count = 8;
    __m256 v;
};
inline Lanes multiply_add(Lanes a, float b, Lanes c) { return {_mm256_fmadd_ps(a.v, _mm256_set1_ps(b), c.v)}; }
inline Lanes multiply(Lanes a, float b) { return {_mm256_mul_ps(a.v, _mm256_set1_ps(b))}; }
inline Lanes read(const float* in) { return {_mm256_loadu_ps(in)}; }
inline Lanes read(const signed char* in) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(in))))};
}
inline Lanes read(const Half* in) { return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in)))}; }
inline Lanes broadcast(float a) { return {_mm256_set1_ps(a)}; }
inline Lanes read_byte(const uint32_t* words, int shift) {
    const __m256i low = _mm256_srlv_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words)), _mm256_set1_epi32(shift));
    return {_mm256_cvtepi32_ps(_mm256_and_si256(low, _mm256_set1_epi32(255)))};
}
struct Words { __m256i of[CHUNK / WORD]; };
inline Words turn(const uint8_t* from, const Index* cells) {
    const auto at = [&](int site) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + cells[site])); };
    __m256i a[4];
    for (int s = 0; s < 4; ++s) {
        a[s] = _mm256_inserti128_si256(_mm256_castsi128_si256(at(s)), at(4 + s), 1);
    }
    const __m256i low = _mm256_unpacklo_epi32(a[0], a[1]), low_too = _mm256_unpacklo_epi32(a[2], a[3]);
    const __m256i high = _mm256_unpackhi_epi32(a[0], a[1]), high_too = _mm256_unpackhi_epi32(a[2], a[3]);
    return {_mm256_unpacklo_epi64(low, low_too), _mm256_unpackhi_epi64(low, low_too),
            _mm256_unpacklo_epi64(high, high_too), _mm256_unpackhi_epi64(high, high_too)};
}
inline void write(float* out, Lanes a) { _mm256_storeu_ps(out, a.v); }
inline void write(Half* out, Lanes a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
inline void write(signed char* out, Lanes a) {
    const __m256 low = _mm256_min_ps(a.v, _mm256_set1_ps(127));
    const __m256i whole = _mm256_cvtps_epi32(_mm256_max_ps(low, _mm256_set1_ps(-127)));
    const __m128i pairs = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_packs_epi16(pairs, pairs));
}
inline void stream(void* to, const void* from) {
    auto* out = static_cast<__m256i*>(to);
    const auto* in = static_cast<const __m256i*>(from);
    _mm256_stream_si256(out, _mm256_load_si256(in));
    _mm256_stream_si256(out + 1, _mm256_load_si256(in + 1));
}

#else

struct Lanes {
    static constexpr int count = 4;
    typedef float Four __attribute__((vector_size(16)));
    Four v;
};
inline Lanes multiply_add(Lanes a, float b, Lanes c) {
    for (int lane = 0; lane < Lanes::count; ++lane) c.v[lane] = __builtin_fmaf(a.v[lane], b, c.v[lane]);
    return c;
}
inline Lanes multiply(Lanes a, float b) { return {a.v * b}; }
inline Lanes broadcast(float a) { return {Lanes::Four{a, a, a, a}}; }
inline Lanes read_byte(const uint32_t* words, int shift) {
    Lanes lanes;
    for (int lane = 0; lane < Lanes::count; ++lane) lanes.v[lane] = static_cast<float>(words[lane] >> shift & 255);
    return lanes;
}
struct Words { uint32_t of[CHUNK / WORD][Lanes::count]; };
inline Words turn(const uint8_t* from, const Index* cells) {
    Words words = {};
    for (int site = 0; site < Lanes::count; ++site)
        for (int b = 0; b < CHUNK; ++b)
            words.of[b / WORD][site] |= static_cast<uint32_t>(from[cells[site] + b]) << b % WORD * 8;
    return words;
}
#ifdef __SSE2__
inline void stream(void* to, const void* from) {
    for (int i = 0; i < LINE / 16; ++i)
        _mm_stream_si128(static_cast<__m128i*>(to) + i, _mm_load_si128(static_cast<const __m128i*>(from) + i));
}
#else
inline void stream(void* to, const void* from) { std::memcpy(to, from, LINE); }
#endif

#endif

inline Lanes operator+(Lanes a, Lanes b) { return {a.v + b.v}; }
inline Lanes operator-(Lanes a, Lanes b) { return {a.v - b.v}; }

inline void streamed() {
#ifdef __SSE2__
    _mm_sfence();
#endif
}

// Where there is no instruction above, one lane after another by the definition in `spectral.h`.
template <class Stored>
inline Lanes read(const Stored* in) {
    float values[Lanes::count];
    for (int lane = 0; lane < Lanes::count; ++lane) values[lane] = load(in[lane]);
    Lanes lanes;
    std::memcpy(&lanes.v, values, sizeof values);
    return lanes;
}

template <class Stored>
inline void write(Stored* out, Lanes a) {
    float values[Lanes::count];
    std::memcpy(values, &a.v, sizeof values);
    for (int lane = 0; lane < Lanes::count; ++lane) store(out[lane], values[lane]);
}

}  // namespace spectral
