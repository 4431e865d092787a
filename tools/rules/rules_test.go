// Package rules checks the queries of the chart by Prometheus' own parser. It is a module of its own, beside the workspace,
// so that Prometheus decides about no version of ours; that every metric in them is one that a service tells is checked
// where there are services, in tools/system.
package rules

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func files(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join("../../charts/trackway", pattern))
	if err != nil || len(found) == 0 {
		t.Fatalf("there are no %s: %v", pattern, err)
	}
	return found
}

// read parses a query. It names only metrics of ours, and asks only our services for them, as others have such metrics too;
// tools/system looks for them among what a running system tells.
func read(t *testing.T, where, query string) {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		t.Errorf("%s: %v in %s", where, err, query)
		return
	}
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		s, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		if !ours.MatchString(s.Name) {
			t.Errorf("%s: nobody tells %s", where, s)
		}
		if !slices.ContainsFunc(s.LabelMatchers, func(m *labels.Matcher) bool { return m.Name == "service_name" }) {
			t.Errorf("%s: %s is asked of everybody", where, s)
		}
		return nil
	})
}

// ours is how the names of our metrics begin.
var ours = regexp.MustCompile(`^(http|rpc|db|go|trackway)_`)

// TestPrometheusReadsTheAlerts: each is one, with a query, and with templates, that Prometheus can read.
func TestPrometheusReadsTheAlerts(t *testing.T) {
	t.Parallel()
	for _, file := range files(t, "alerts/*.yaml") {
		groups, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, parser.NewParser(parser.Options{}),
			slog.New(slog.NewTextHandler(t.Output(), nil)))
		for _, err := range errs {
			t.Error(err)
		}
		if groups == nil {
			continue
		}
		for _, g := range groups.Groups {
			for _, r := range g.Rules {
				read(t, file+": "+r.Alert, r.Expr)
				if r.Alert == "" || r.For == 0 || r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
					t.Errorf("%s: got %+v, want an alert with a patience, a severity and a summary", file, r)
				}
			}
		}
	}
}

// dashboard is as much of Grafana's as asks Prometheus.
type dashboard struct {
	Panels []struct {
		Title   string `json:"title"`
		Targets []struct {
			Expr string `json:"expr"`
		} `json:"targets"`
	} `json:"panels"`
}

func TestPrometheusReadsTheDashboards(t *testing.T) {
	t.Parallel()
	// What Grafana puts in the place of its variables.
	variables := strings.NewReplacer("$__rate_interval", "5m")
	for _, file := range files(t, "dashboards/*.json") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil || len(d.Panels) == 0 {
			t.Errorf("%s: %v, with %d panels", file, err, len(d.Panels))
		}
		for _, panel := range d.Panels {
			for _, target := range panel.Targets {
				read(t, file+": "+panel.Title, variables.Replace(target.Expr))
			}
			if len(panel.Targets) == 0 {
				t.Errorf("%s: %s asks for nothing", file, panel.Title)
			}
		}
	}
}
