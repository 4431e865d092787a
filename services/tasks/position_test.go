package tasks

import "testing"

func TestAppendedPositionsCompareAsTheirNumbers(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "a0", 1: "a1", 10: "aA", 61: "az", 62: "b00", 62 + 62*62 - 1: "bzz", 62 + 62*62: "c000",
	} {
		if got := appended(n); got != want {
			t.Errorf("appended(%d): got %q, want %q", n, got, want)
		}
	}
	check := func(n int64) {
		if a, b := appended(n), appended(n+1); a >= b || a+"V" <= a || a+"V" >= b {
			t.Fatalf("positions %q and %q of %d and the next: want them in order, with room between", a, b, n)
		}
	}
	for n := range int64(300_000) { // past the change from three digits to four
		check(n)
	}
	const top = 839_299_365_868_340_224 // 62¹⁰
	for n := int64(1); n < top/3; n *= 3 {
		check(n)
	}
	check(top - 2)
}
