// By tables, sixteen bytes at a time: the table for place k holds what a byte there leaves behind k more bytes
// (slicing, Kounavis and Berry, doi:10.1109/TC.2008.85).
#include "crc64.hpp"

#include <array>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gammanav {
namespace {

constexpr int slices = 16;
using Tables = std::array<std::array<std::uint64_t, 256>, slices>;

constexpr Tables make_tables() {
    Tables t{};
    for (std::uint64_t byte = 0; byte < 256; ++byte) {
        std::uint64_t value = byte << 56;
        for (int bit = 0; bit < 8; ++bit) value = (value << 1) ^ (value >> 63 ? crc64_polynomial : 0);
        t[0][byte] = value;
    }
    for (int k = 1; k < slices; ++k)
        for (int byte = 0; byte < 256; ++byte) {
            const std::uint64_t before = t[k - 1][byte];
            t[k][byte] = (before << 8) ^ t[0][before >> 56];
        }
    return t;
}

constexpr Tables tables = make_tables();

std::uint64_t continued(std::uint64_t crc, const unsigned char* data, std::size_t size) noexcept {
    for (; size >= slices; data += slices, size -= slices) {
        std::uint64_t head = 0;
        for (int k = 0; k < 8; ++k) head = (head << 8) | data[k];
        head ^= crc;  // the remainder so far stands before the next eight bytes; those behind are plain
        std::uint64_t next = 0;
        for (int k = 0; k < 8; ++k) next ^= tables[15 - k][(head >> (56 - 8 * k)) & 0xFF] ^ tables[7 - k][data[8 + k]];
        crc = next;
    }
    for (; size > 0; ++data, --size) crc = (crc << 8) ^ tables[0][(crc >> 56) ^ *data];
    return crc;
}

#if defined(__x86_64__)
// Shorter messages are done by the tables before the constants are loaded.
constexpr std::size_t least_folded = 256;

// x^n modulo the polynomial.
constexpr std::uint64_t power(int n) {
    std::uint64_t value = 1;
    for (; n > 0; --n) value = (value << 1) ^ (value >> 63 ? crc64_polynomial : 0);
    return value;
}

// Sixteen bytes as a polynomial, first byte highest.
__attribute__((target("pclmul,ssse3"))) inline __m128i sixteen(const unsigned char* data) noexcept {
    const __m128i turn = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data)), turn);
}

// head * x^bits, congruent modulo the polynomial; `by` holds x^(bits + 64) above x^bits.
__attribute__((target("pclmul,ssse3"))) inline __m128i moved(__m128i head, __m128i by) noexcept {
    return _mm_xor_si128(_mm_clmulepi64_si128(head, by, 0x11), _mm_clmulepi64_si128(head, by, 0x00));
}

// Four strands of sixteen bytes are folded forward over the message (Gopal et al., Intel 2009, "Fast CRC computation
// for generic polynomials using PCLMULQDQ"); what is left is congruent to the whole and goes through the tables.
__attribute__((target("pclmul,ssse3"))) std::uint64_t folded(const unsigned char* data, std::size_t size) noexcept {
    constexpr std::size_t strands = 4, stride = 16 * strands;
    const __m128i far = _mm_set_epi64x(static_cast<long long>(power(512 + 64)), static_cast<long long>(power(512)));
    const __m128i near = _mm_set_epi64x(static_cast<long long>(power(128 + 64)), static_cast<long long>(power(128)));
    __m128i strand[strands];
    for (std::size_t k = 0; k < strands; ++k) strand[k] = sixteen(data + 16 * k);
    for (data += stride, size -= stride; size >= stride; data += stride, size -= stride)
        for (std::size_t k = 0; k < strands; ++k)
            strand[k] = _mm_xor_si128(moved(strand[k], far), sixteen(data + 16 * k));
    __m128i whole = strand[0];
    for (std::size_t k = 1; k < strands; ++k) whole = _mm_xor_si128(moved(whole, near), strand[k]);
    alignas(16) unsigned char left[16];
    const __m128i turn = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm_store_si128(reinterpret_cast<__m128i*>(left), _mm_shuffle_epi8(whole, turn));
    return continued(continued(0, left, sizeof left), data, size);
}
#endif

}  // namespace

std::uint64_t crc64_portable(const unsigned char* data, std::size_t size) noexcept {
    return continued(0, data, size);
}

#if defined(__x86_64__)
std::uint64_t crc64(const unsigned char* data, std::size_t size) noexcept {
    static const bool multiplies = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("ssse3");
    return multiplies && size >= least_folded ? folded(data, size) : crc64_portable(data, size);
}
#else
std::uint64_t crc64(const unsigned char* data, std::size_t size) noexcept { return crc64_portable(data, size); }
#endif

}  // namespace gammanav
