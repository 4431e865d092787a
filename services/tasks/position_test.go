package tasks

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestPlacesCompareAsTheirNumbers(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "a0", 1: "a1", 10: "aA", 61: "az", 62: "b00", 62 + 62*62 - 1: "bzz", 62 + 62*62: "c000",
		-1: "Zz", -62: "Z0", -63: "Yzz", -62 - 62*62: "Y00", -62 - 62*62 - 1: "Xzzz",
	} {
		if got := place(n); got != want {
			t.Errorf("place(%d): got %q, want %q", n, got, want)
		}
	}
	check := func(n int64) {
		a, b := place(n), place(n+1)
		if mid := between(a, b); a >= b || mid <= a || mid >= b {
			t.Fatalf("positions %q and %q of %d and the next, and %q between: want them in order", a, b, n, mid)
		}
	}
	for n := range int64(300_000) { // past the change from three digits to four
		check(n)
		check(-n)
	}
	const top = 839_299_365_868_340_224 // 62¹⁰
	for n := int64(1); n < top/3; n *= 3 {
		check(n)
		check(-n)
	}
	check(top - 2)
	check(1 - top)
}

// A board on which tasks are moved anywhere stays in order, and its positions stay short.
func TestBetweenTwoPositionsThereIsAlwaysAnother(t *testing.T) {
	t.Parallel()
	spots := map[string]func(n int) int{
		"anywhere":               rand.IntN,
		"behind the first":       func(int) int { return 0 },
		"ahead of the last":      func(n int) int { return n - 1 },
		"in the middle":          func(n int) int { return n / 2 },
		"right and left by turn": func(n int) int { return n/2 - n%2 },
	}
	for name, spot := range spots {
		const moves = 3000
		board := []string{place(61), place(62), place(63)} // az, b00, b01
		for range moves {
			i := spot(len(board) - 1)
			board = slices.Insert(board, i+1, between(board[i], board[i+1]))
		}
		for i := range board[1:] {
			if board[i] >= board[i+1] {
				t.Fatalf("%s: got %q ahead of %q", name, board[i], board[i+1])
			}
		}
		longest := len(slices.MaxFunc(board, func(a, b string) int { return len(a) - len(b) }))
		if most := moves/5 + 5; longest > most {
			t.Errorf("%s: got a position of %d digits after %d moves, want at most %d", name, longest, moves, most)
		}
		if name == "anywhere" && longest > 20 {
			t.Errorf("%s: got a position of %d digits, want at most 20", name, longest)
		}
	}
}

func FuzzBetween(f *testing.F) {
	f.Add("az", "b00")
	f.Add("", "a1")
	f.Add("az", "azz")
	f.Add("a", "a001")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, key := range []string{a, b} {
			for _, c := range key {
				if !strings.ContainsRune(digits, c) {
					return
				}
			}
		}
		if strings.TrimRight(a, "0") >= strings.TrimRight(b, "0") {
			return // not in order, as fractions
		}
		got := between(a, b)
		if got <= a || got >= b || strings.HasSuffix(got, "0") {
			t.Errorf("between(%q, %q): got %q", a, b, got)
		}
		if most := max(len(a), len(b)) + 1; len(got) > most {
			t.Errorf("between(%q, %q): got %q, want at most %d digits", a, b, got, most)
		}
	})
}
