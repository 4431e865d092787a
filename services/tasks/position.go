package tasks

import "strings"

// Positions are texts of these digits, which compare as bytes. They are read as fractions in base 62, with the point
// ahead of the first digit, and no two positions of a project are the same fraction.
const (
	digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	base   = len(digits)
)

// maxPosition is far below what an index can hold. Six moves to the same gap add about one digit.
const maxPosition = 1000

// place is the n-th position of a board that only grows at its ends, downwards with n below 0: a0 … az, b00 … bzz, c000
// and so on, and Zz … Z0, Yzz … Y00, Xzzz in the other direction. The letter tells how many digits follow, so that
// positions compare as their numbers, and never get long. These are the integers of
// https://observablehq.com/@dgreensp/implementing-fractional-indexing. n is between -62¹⁰ and 62¹⁰.
func place(n int64) string {
	negative := n < 0
	if negative {
		n = -n - 1
	}
	width, count := 1, int64(base)
	for n >= count {
		n -= count
		width++
		count *= int64(base)
	}
	key := make([]byte, width+1)
	key[0] = 'a' + byte(width) - 1
	if negative {
		key[0] = 'Z' - byte(width) + 1
		n = count - 1 - n
	}
	for i := width; i > 0; i-- {
		key[i] = digits[n%int64(base)]
		n /= int64(base)
	}
	return string(key)
}

// between is a short position behind a and ahead of b, about in the middle: a fraction between theirs. b's must be
// greater than a's. No outcome ends in 0, so that there is room between any two.
func between(a, b string) string {
	var key strings.Builder
	i := 0
	for digit(a, i) == digit(b, i) {
		key.WriteByte(digits[digit(a, i)])
		i++
	}
	low, high := digit(a, i), digit(b, i)
	if middle := (low + high) / 2; middle > low {
		key.WriteByte(digits[middle])
		return key.String()
	}
	if i+1 < len(b) && strings.Trim(b[i+1:], digits[:1]) != "" {
		key.WriteByte(digits[high]) // b goes on behind this digit
		return key.String()
	}
	// Behind a, and ahead of all that begins with b's digit.
	for key.WriteByte(digits[low]); ; key.WriteByte(digits[low]) {
		i++
		low = digit(a, i)
		if middle := (low + base) / 2; middle > low {
			key.WriteByte(digits[middle])
			return key.String()
		}
	}
}

// digit is the value of the i-th digit, which is 0 behind the end.
func digit(key string, i int) int {
	if i >= len(key) {
		return 0
	}
	return strings.IndexByte(digits, key[i])
}
