// A few sites side by side in one vector register: the V that `spectral.h` computes with on a CPU.
//
// 16 lanes with AVX-512, 8 with AVX2, 4 elsewhere; the numbers that come out are the same bits in all three.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__) && defined(__F16C__))
#include <immintrin.h>
#endif

#include "spectral.h"

namespace spectral {

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)

struct Lanes {
    static constexpr int count = 16;
    __m512 v;
};
inline Lanes multiply_add(Lanes a, float b, Lanes c) { return {_mm512_fmadd_ps(a.v, _mm512_set1_ps(b), c.v)}; }
inline Lanes multiply(Lanes a, float b) { return {_mm512_mul_ps(a.v, _mm512_set1_ps(b))}; }
inline Lanes read(const float* in) { return {_mm512_loadu_ps(in)}; }
inline Lanes read(const uint8_t* in) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in))))};
}
inline Lanes read(const signed char* in) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in))))};
}
inline Lanes read(const Half* in) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(in)))};
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

#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

struct Lanes {
    static constexpr int count = 8;
    __m256 v;
};
inline Lanes multiply_add(Lanes a, float b, Lanes c) { return {_mm256_fmadd_ps(a.v, _mm256_set1_ps(b), c.v)}; }
inline Lanes multiply(Lanes a, float b) { return {_mm256_mul_ps(a.v, _mm256_set1_ps(b))}; }
inline Lanes read(const float* in) { return {_mm256_loadu_ps(in)}; }
inline Lanes read(const uint8_t* in) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(in))))};
}
inline Lanes read(const signed char* in) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(in))))};
}
inline Lanes read(const Half* in) { return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in)))}; }
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

#endif

inline Lanes operator+(Lanes a, Lanes b) { return {a.v + b.v}; }
inline Lanes operator-(Lanes a, Lanes b) { return {a.v - b.v}; }

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
