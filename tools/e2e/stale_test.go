package e2e

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trackway/trackway/tools/checker"
	"github.com/trackway/trackway/tools/programs"
)

// seeds are those of a run: TRACKWAY_CHECKER_SEEDS has others, separated by commas or as a range, such as 1-20.
func seeds(t *testing.T) (all []uint64) {
	t.Helper()
	text := os.Getenv("TRACKWAY_CHECKER_SEEDS")
	if text == "" {
		now := uint64(time.Now().UnixNano())
		return []uint64{now, now + 1}
	}
	number := func(s string) uint64 {
		n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
		if err != nil {
			t.Fatalf("TRACKWAY_CHECKER_SEEDS: %v", err)
		}
		return n
	}
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		for n := number(first); n <= number(last); n++ {
			all = append(all, n)
		}
	}
	return all
}

func build(t *testing.T, tags ...string) (bin string) {
	t.Helper()
	bin = t.TempDir()
	if err := programs.Build(t.Context(), bin, programs.Options{Tags: tags}, programs.Services()...); err != nil {
		t.Fatal(err)
	}
	return bin
}

func check(t *testing.T, bin string, o checker.Options) *checker.Report {
	t.Helper()
	o.Bin, o.Dir, o.Log = bin, dataDir(t), t.Output()
	report, err := checker.Run(t.Context(), o)
	if err != nil {
		t.Fatalf("seed %d: %v", o.Seed, err)
	}
	t.Logf("seed %d: %d operations, faults:\n%s", o.Seed, report.Operations, strings.Join(report.Faults, "\n"))
	return report
}

// Whatever happens to Redis and to the services, no answer is older than a write that was acknowledged before.
func TestNoAnswerIsStaleWhateverFails(t *testing.T) { //nolint:paralleltest // it takes the whole machine
	bin := build(t)
	for _, seed := range seeds(t) {
		report := check(t, bin, checker.Options{Seed: seed, Duration: 15 * time.Second})
		for _, v := range report.Violations {
			t.Errorf("seed %d: %s", seed, v)
		}
		if report.Operations < 500 { //nolint:mnd // fewer show nothing, on the slowest machine
			t.Errorf("seed %d: got %d operations, want hundreds", seed, report.Operations)
		}
	}
}

// Without what keeps answers from being stale the checker finds some that are.
func TestTheCheckerFindsStaleAnswers(t *testing.T) { //nolint:paralleltest // see above
	bin := build(t, "trackway_nobump")
	report := check(t, bin, checker.Options{Seed: 1, Duration: 2 * time.Second, Quiet: true})
	if len(report.Violations) == 0 {
		t.Error("got no violation, want some")
	}
}
