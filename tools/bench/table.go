package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// line is what one run took. CPU is in seconds for 1,000 requests, over all processes but the one that asks.
type line struct {
	mode, name, state string
	connections       int
	requests, bytes   int
	rate              float64
	p50, p99          time.Duration
	cpu               float64
	each              string
	allocations, hits float64 // a request; share of Redis lookups. Below 0 when not known
}

type table struct {
	lines []line
	notes []string
}

// add keeps a line, and shows it at once to whoever waits.
func (t *table) add(l line) {
	t.lines = append(t.lines, l)
	fmt.Printf("  %-28s %-5s %3d connections  %8.0f requests/s  %.3f CPU s/1,000 (%s)\n", l.name, l.state, l.connections, l.rate, l.cpu, l.each)
}

func (t *table) print(w io.Writer) {
	fmt.Fprintln(w, "\nCPU seconds per 1,000 requests, over all processes, Postgres and Redis included; the client is not.")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "mode\twhat\tcache\tconnections\trequests\tbytes\trequests/s\tp50\tp99\tCPU s/1,000\tallocations\tkeys found\t")
	for _, l := range t.lines {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%d\t%d\t%.0f\t%s\t%s\t%.3f\t%s\t%s\t\n", l.mode, l.name, l.state, l.connections, l.requests,
			l.bytes, l.rate, l.p50.Round(10*time.Microsecond), l.p99.Round(10*time.Microsecond), l.cpu,
			known(l.allocations, "%.0f", 1), known(l.hits, "%.0f %%", 100))
	}
	_ = tw.Flush() // as w does
	for _, n := range t.notes {
		fmt.Fprintln(w, n)
	}
}

func known(v float64, format string, times float64) string {
	if v < 0 {
		return "–"
	}
	return fmt.Sprintf(format, v*times)
}
