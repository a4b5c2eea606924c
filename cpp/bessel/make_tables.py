#!/usr/bin/env python3
"""Writes tables.hpp: the constants of the Bessel kernels, each from its definition (needs mpmath; about 10 s).

The coefficients of the uniform expansion are exact rationals, from the recurrence of Debye's polynomials (DLMF 10.41.9)
and the logarithm of a power series. Fits are Chebyshev interpolants in 60 digits, which come within a factor of two of
the best polynomial; the largest error is printed beside each.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import mpmath as mp

mp.mp.dps = 60
TERMS = 28
OUT = Path(__file__).with_name("tables.hpp")


def debye_polynomials(terms: int) -> list[list[Fraction]]:
    """P_k(p) with u_k(v / s) / v^k = P_k(p) / s^k, where s = hypot(v, x) and p = (v / s)^2; P_k has degree k."""
    rows = [[Fraction(1)]]
    for k in range(terms):
        row = [Fraction(0)] * (k + 2)
        for i, c in enumerate(rows[-1]):
            e = k + 2 * i
            row[i] += c * e / 2 + c / (8 * (e + 1))
            row[i + 1] -= c * e / 2 + 5 * c / (8 * (e + 3))
        rows.append(row)
    return rows


def log_series(rows: list[list[Fraction]]) -> list[list[Fraction]]:
    """D_k(p) with sum_k D_k / s^k = log sum_k P_k / s^k; D_0 = 0."""
    logs: list[list[Fraction]] = [[Fraction(0)]]
    for k in range(1, len(rows)):
        row = list(rows[k])
        for j in range(1, k):
            for a, x in enumerate(logs[j]):
                for b, y in enumerate(rows[k - j]):
                    row[a + b] -= Fraction(j, k) * x * y
        logs.append(row)
    return logs


def check_stirling(logs: list[list[Fraction]]) -> None:
    """At x = 0 (p = 1) the expansion is Stirling's: D_k(1) = -B_{k+1} / (k (k+1))."""
    for k in range(1, len(logs)):
        p, q = mp.bernfrac(k + 1)
        assert sum(logs[k]) == -Fraction(int(p), int(q)) / (k * (k + 1)), k


def fit(function, interval: tuple, terms: int) -> tuple[list, mp.mpf]:
    """Coefficients, lowest first, and the largest error on the interval."""
    coefficients, error = mp.chebyfit(function, list(interval), terms, error=True)
    return coefficients[::-1], error


def number(x) -> str:
    return float(x).hex()


class Writer:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, *lines: str) -> None:
        self.lines += lines

    def array(self, name: str, values: list, comment: str) -> None:
        self.say(f"// {comment}", f"OMNICONV_BESSEL_TABLE double {name}[] = {{")
        row = "   "
        for value in values:
            text = f" {number(value)},"
            if len(row) + len(text) > 120:
                self.say(row)
                row = "   "
            row += text
        self.say(row, "};")

    def fitted(self, name: str, function, interval: tuple, terms: int, what: str) -> None:
        values, error = fit(function, interval, terms)
        self.array(name, values, f"{what}; error 2^{float(mp.log(error, 2)):.1f}")

    def pair(self, name: str, value, what: str) -> None:
        high = float(value)
        self.say(f"// {what}, as the sum of two")
        self.say(f"OMNICONV_BESSEL_TABLE double {name}[] = {{{number(high)}, {number(value - high)}}};")

    def split(self, name: str, value, bits: int, what: str) -> None:
        high = mp.nint(mp.ldexp(value, bits)) / mp.mpf(2) ** bits
        self.say(f"// {what}", f"OMNICONV_BESSEL_TABLE double {name}[] = {{{number(high)}, {number(value - high)}}};")


def atanh_tail(t):
    """(atanh(q) / q - 1) / q^2 as a function of t = q^2."""
    if t < mp.mpf(10) ** -12:
        return mp.mpf(1) / 3 + t / 5
    q = mp.sqrt(t)
    return (mp.atanh(q) / q - 1) / t


def exp_tail(r):
    return (mp.expm1(r) - r) / r**2 if abs(r) > mp.mpf(10) ** -15 else mp.mpf(1) / 2 + r / 6


def leading(z):
    """(s - v asinh(v / x)) / v at x = z v."""
    return mp.sqrt(1 + z * z) - mp.asinh(1 / z)


ROOT = mp.findroot(leading, 0.6627434193491816)
SLOPE = mp.sqrt(1 + ROOT**2) / ROOT


def leading_tail(e):
    """(leading(root + e) / e - slope) / e; the series where the quotient would cancel."""
    if abs(e) < mp.mpf(10) ** -8:
        z, s = ROOT, mp.sqrt(1 + ROOT**2)
        second, third = -1 / (z**2 * s), (3 * z**2 + 2) / (z**3 * s**3)
        return second / 2 + e * third / 6
    return (leading(ROOT + e) / e - SLOPE) / e


def reciprocal_gamma_tail(f):
    return (mp.rgamma(1 + f) - 1) / f if abs(f) > mp.mpf(10) ** -20 else mp.euler


def gamma_odd(t):
    """(1 / Gamma(1 - m) - 1 / Gamma(1 + m)) / (2 m) as a function of t = m^2 (Temme 1975)."""
    m = mp.sqrt(t)
    return (mp.rgamma(1 - m) - mp.rgamma(1 + m)) / (2 * m) if t > mp.mpf(10) ** -30 else -mp.euler


def gamma_even_tail(t):
    """(the mean of the two - 1) / t."""
    if t < mp.mpf(10) ** -20:
        return (mp.euler**2 - mp.pi**2 / 6) / 2
    m = mp.sqrt(t)
    return ((mp.rgamma(1 - m) + mp.rgamma(1 + m)) / 2 - 1) / t


def reflection_tail(t):
    """(pi m / sin(pi m) - 1) / t."""
    if t < mp.mpf(10) ** -20:
        return mp.pi**2 / 6
    m = mp.sqrt(t)
    return (mp.pi * m / mp.sin(mp.pi * m) - 1) / t


def main() -> None:
    logs = log_series(debye_polynomials(TERMS))
    assert logs[1] == [Fraction(1, 8), Fraction(-5, 24)]
    check_stirling(logs)

    w = Writer()
    w.say(
        "// bessel/tables.hpp -- constants of the Bessel kernels; written by make_tables.py, which says what they are",
        "#pragma once",
        "",
        "#if defined(__CUDACC__)",
        "#define OMNICONV_BESSEL_TABLE static __device__ constexpr",
        "#else",
        "#define OMNICONV_BESSEL_TABLE inline constexpr",
        "#endif",
        "",
        "namespace omniconv::bessel {",
        "",
        f"inline constexpr int kUniformTerms = {TERMS};",
    )
    flat = [mp.mpf(c.numerator) / c.denominator for row in logs[1:] for c in row]
    w.array("kUniform", flat, "D_k(p), k = 1, 2, ...: k + 1 coefficients each, that of p^j at k (k + 1) / 2 - 1 + j")
    w.say("")
    square = (mp.mpf(0), mp.mpf("0.0401"))
    w.fitted("kAtanh64", atanh_tail, square, 8, "(atanh(q) / q - 1) / q^2 in q^2 <= 0.04")
    w.fitted("kAtanh32", atanh_tail, square, 4, "the same for float32")
    half = mp.log(2) / 2 * mp.mpf("1.001")
    w.fitted("kExp", exp_tail, (-half, half), 11, "(e^r - 1 - r) / r^2 for |r| <= log(2) / 2")
    w.say("")
    w.pair("kZeroLine", ROOT, "z with sqrt(1 + z^2) = asinh(1 / z): where the leading term of the logarithms is 0")
    w.pair("kZeroSlope", SLOPE, "derivative of the leading term there, in units of v")
    edge = mp.mpf("0.0157")
    w.fitted("kZeroTail64", leading_tail, (-edge, edge), 8, "(leading(z + e) / e - slope) / e for |e| <= 1 / 64")
    w.fitted("kZeroTail32", leading_tail, (-edge, edge), 4, "the same for float32")
    w.say("")
    w.fitted(
        "kReciprocalGamma", reciprocal_gamma_tail, (mp.mpf(0), mp.mpf(1)), 15, "(1 / Gamma(1 + f) - 1) / f on [0, 1]"
    )
    quarter = (mp.mpf(0), mp.mpf("0.2505"))
    w.fitted("kGammaOdd", gamma_odd, quarter, 8, "(1/Gamma(1 - m) - 1/Gamma(1 + m)) / (2 m) in m^2 <= 1/4")
    w.fitted("kGammaEven", gamma_even_tail, quarter, 8, "((1/Gamma(1 - m) + 1/Gamma(1 + m)) / 2 - 1) / m^2 there")
    w.fitted("kReflection", reflection_tail, quarter, 19, "(pi m / sin(pi m) - 1) / m^2 there")
    w.say("")
    w.split("kLog2In64", mp.log(2), 41, "log(2), the first of the two short enough to be exact times an exponent")
    w.split("kLog2In32", mp.log(2), 15, "the same for float32")
    w.pair("kHalfLog2Pi", mp.log(2 * mp.pi) / 2, "log(2 pi) / 2")
    w.pair("kHalfLogHalfPi", mp.log(mp.pi / 2) / 2, "log(pi / 2) / 2")
    w.say("", "}  // namespace omniconv::bessel")
    OUT.write_text("\n".join(w.lines) + "\n")


if __name__ == "__main__":
    main()
