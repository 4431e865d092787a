package tasks

// digits are those of positions, in the order of their bytes.
const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// appended is the position of a project's n-th task, behind those of all tasks before it: a0 … az, b00 … bzz, c000 and
// so on, where the letter tells how many digits follow, so that positions compare as bytes. Between any two of them
// there is room: a longer text that begins with the first lies behind it and ahead of the second. These are the
// integers of https://observablehq.com/@dgreensp/implementing-fractional-indexing. n is below 62¹⁰.
func appended(n int64) string {
	width, count := 1, int64(len(digits))
	for n >= count {
		n -= count
		width++
		count *= int64(len(digits))
	}
	key := make([]byte, width+1)
	key[0] = 'a' + byte(width) - 1
	for i := width; i > 0; i-- {
		key[i] = digits[n%int64(len(digits))]
		n /= int64(len(digits))
	}
	return string(key)
}
