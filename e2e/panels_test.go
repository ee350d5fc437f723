package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// shown is the time range of the queries, longer than this stack exists.
const shown = 45 * time.Minute

// absentUntilItHappens matches metrics without a sample before their first event, which no fault
// here causes.
var absentUntilItHappens = regexp.MustCompile(`ghostrunner_(clock_last_jump_seconds|runner_last_failure_timestamp_seconds|runner_failures_total)`)

func TestDashboardsShowData(t *testing.T) {
	runMissingFaults(t)
	if n := samples(t, dashboardQuery{where: "an unknown metric", expr: "ghostrunner_unknown", step: time.Minute}); n != 0 {
		t.Fatalf("an unknown metric has %d samples", n)
	}
	files, err := filepath.Glob("../dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards (%v)", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			for _, q := range dashboardQueries(t, file) {
				if absentUntilItHappens.MatchString(q.expr) {
					continue
				}
				// An instant query can fall between two scrapes, and rare events take a while.
				var found int
				for range 20 {
					if found = samples(t, q); found > 0 {
						break
					}
					time.Sleep(time.Second) // while nothing was found
				}
				if found == 0 {
					t.Errorf("%s finds nothing:\n%s", q.where, q.expr)
				}
			}
		})
	}
}

// runMissingFaults runs the faults whose alerts have not fired yet, if this test is run alone.
func runMissingFaults(t *testing.T) {
	t.Helper()
	for _, fault := range scenario.Faults(system) {
		expr := fmt.Sprintf(`count(last_over_time(ALERTS{alertstate="firing", alertname=%q}[%v]))`, fault.Alert["alertname"], shown)
		if _, seen, err := system.Query(t.Context(), expr); err != nil {
			t.Fatal(err)
		} else if !seen {
			runFault(t, fault)
		}
	}
	if _, done, err := system.Query(t.Context(), "sum(ghostrunner_runner_jobs_completed_total) > 0"); err != nil {
		t.Fatal(err)
	} else if !done {
		if _, err := scenario.Jobs(t.Context(), system); err != nil {
			t.Fatal(err)
		}
	}
}

type dashboardQuery struct {
	where, expr string
	instant     bool
	step        time.Duration
	isTime      bool // the values are times of events in milliseconds
}

// dashboardQueries returns the queries of a dashboard with all variables set to "All", as Grafana
// sends them.
func dashboardQueries(t *testing.T, file string) []dashboardQuery {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct {
				Expr, Interval string
				Instant        bool
			}
		}
		Annotations struct {
			List []struct {
				Name, Expr      string
				UseValueForTime bool
			}
		}
		Templating struct {
			List []struct {
				Name, Type string
				Query      string
			}
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	// Grafana: four times the scrape interval of the data source, or the query's own interval.
	const usual = 15 * time.Second
	expand := func(expr string, interval time.Duration) string {
		return strings.NewReplacer("$__rate_interval", (4 * interval).String(), "$__range", shown.String(), "$host", ".*", "$runner", ".*").Replace(expr)
	}
	var all []dashboardQuery
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			interval := usual
			if target.Interval != "" {
				if interval, err = time.ParseDuration(target.Interval); err != nil {
					t.Fatal(err)
				}
			}
			all = append(all, dashboardQuery{where: p.Title, expr: expand(target.Expr, interval), instant: target.Instant, step: interval})
		}
	}
	for _, a := range d.Annotations.List {
		all = append(all, dashboardQuery{where: "annotation " + a.Name, expr: expand(a.Expr, usual), step: usual, isTime: a.UseValueForTime})
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(v.Query)
		if m == nil {
			t.Fatalf("variable %s asks %q, which this test does not support", v.Name, v.Query)
		}
		all = append(all, dashboardQuery{
			where: "variable " + v.Name, expr: fmt.Sprintf("count by (%s) (%s)", m[2], expand(m[1], usual)), instant: true, step: usual,
		})
	}
	if len(all) == 0 {
		t.Fatalf("%s has no queries", file)
	}
	return all
}

// samples counts the numbers that a query returns.
func samples(t *testing.T, q dashboardQuery) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	now := time.Now()
	path := "/api/v1/query?" + url.Values{"query": {q.expr}}.Encode()
	if !q.instant {
		path = "/api/v1/query_range?" + url.Values{
			"query": {q.expr}, "start": {unix(now.Add(-shown))}, "end": {unix(now)}, "step": {q.step.String()},
		}.Encode()
	}
	status, body, err := system.Get(ctx, system.Ports.Prometheus, path)
	if err != nil || status != http.StatusOK {
		t.Fatalf("%s: status %d (%v): %s\n%s", q.where, status, err, body, q.expr)
	}
	var answer struct {
		Data struct {
			Result []struct {
				Value  [2]any
				Values [][2]any
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%s: %v\n%s", q.where, err, q.expr)
	}
	found := 0
	for _, series := range answer.Data.Result {
		for _, sample := range append(series.Values, series.Value) {
			text, ok := sample[1].(string)
			if !ok || text == "NaN" {
				continue
			}
			found++
			if value, err := strconv.ParseFloat(text, 64); q.isTime && (err != nil || value < float64(now.Add(-shown).UnixMilli()) || value > float64(now.UnixMilli())) {
				t.Errorf("%s: %s is not a recent time:\n%s", q.where, text, q.expr)
			}
		}
	}
	return found
}

func unix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
