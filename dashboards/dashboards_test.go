package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// rules/metrics_test.go tests that every metric and label of a query exists, e2e/panels_test.go
// that every query finds data.

func TestCommittedIsGenerated(t *testing.T) {
	files, err := generate("../rules")
	if err != nil {
		t.Fatal(err)
	}
	committed, err := filepath.Glob("*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range committed {
		if files[name] == nil {
			t.Errorf("%s is not generated: remove it", name)
		}
	}
	for name, want := range files {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(strings.Split(string(got), "\n"), strings.Split(string(want), "\n")); diff != "" {
			t.Errorf("%s is out of date (- committed, + generated). Run `make generate`.\n\n%s", name, diff)
		}
	}
}

func TestLinter(t *testing.T) {
	path := os.Getenv("DASHBOARD_LINTER")
	if path == "" {
		var err error
		if path, err = exec.LookPath("dashboard-linter"); err != nil {
			t.Fatal("dashboard-linter is neither in $DASHBOARD_LINTER nor in $PATH; `make test` builds it and sets the path")
		}
	}
	for _, d := range dashboards(t) {
		out, err := exec.CommandContext(t.Context(), path, "lint", "--strict", strings.TrimPrefix(d.UID, tag+"-")+".json").CombinedOutput()
		if err != nil {
			t.Errorf("dashboard-linter: %v\n%s", err, out)
		}
	}
}

// TestSchema reads the committed files as strictly as Grafana's schema allows: no unknown field,
// none missing.
func TestSchema(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	for _, d := range dashboards(t) {
		text, err := os.ReadFile(strings.TrimPrefix(d.UID, tag+"-") + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var read dashboard.Dashboard                                                //nolint:staticcheck // the classic schema, see board.build
		if err := read.UnmarshalJSONStrict(text); err != nil && err.Error() != "" { // without a fault it is an empty list, not nil
			t.Errorf("%s: %v", d.UID, err)
		}
		if err := read.Validate(); err != nil {
			t.Errorf("%s: %v", d.UID, err)
		}
	}
}

// dashboardJSON is the part of a dashboard that the tests below read.
type dashboardJSON struct {
	UID, Title, Description string
	Editable                bool
	Tags                    []string
	Links                   []struct {
		Type, URL, Placement  string
		IncludeVars, KeepTime bool
	}
	Annotations struct {
		List []struct {
			Name, Expr string
			Datasource struct{ UID string }
		}
	}
	Templating struct {
		List []struct {
			Name, Type string
			Multi      bool
			IncludeAll bool
			AllValue   string
			Query      any
		}
	}
	Panels []panelJSON
}

type panelJSON struct {
	ID                       int
	Type, Title, Description string
	Datasource               struct{ UID string }
	GridPos                  struct{ X, Y, W, H int }
	Links                    []struct{ Title, URL string }
	FieldConfig              struct {
		Defaults struct {
			Unit     string
			Mappings []any
			Custom   map[string]any
		}
	}
	Targets []targetJSON
}

type targetJSON struct {
	Expr, RefID, LegendFormat, Interval string
	Instant, Range                      bool
	Datasource                          struct{ UID string }
}

func dashboards(t *testing.T) []dashboardJSON {
	t.Helper()
	files, err := generate("../rules")
	if err != nil {
		t.Fatal(err)
	}
	var all []dashboardJSON
	for name, text := range files {
		var d dashboardJSON
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, d)
	}
	return all
}

func TestDashboards(t *testing.T) {
	for _, d := range dashboards(t) {
		t.Run(d.UID, func(t *testing.T) {
			if d.Title == "" || d.Description == "" || d.Editable || !slices.Contains(d.Tags, tag) {
				t.Errorf("want a title, a description, the tag %s, and not editable: %q %q %v %v", tag, d.Title, d.Description, d.Tags, d.Editable)
			}
			variables := map[string]bool{}
			for _, v := range d.Templating.List {
				variables[v.Name] = true
				if v.Type == "query" && (!v.Multi || !v.IncludeAll || v.AllValue != ".*") {
					t.Errorf("variable %s: want several values, or all of them, also if the label is missing", v.Name)
				}
			}
			if !variables["datasource"] || !variables["host"] {
				t.Errorf("variables %v: want datasource and host", variables)
			}
			if len(d.Links) != 2 || d.Links[0].Type != "dashboards" || !d.Links[0].IncludeVars || !d.Links[0].KeepTime || d.Links[1].URL != runbooks || d.Links[0].Placement+d.Links[1].Placement != "" {
				t.Errorf("links %+v: want the other dashboards, with variables and time, and the runbooks", d.Links)
			}
			if len(d.Annotations.List) != len(annotations) {
				t.Errorf("%d annotations, want %d", len(d.Annotations.List), len(annotations))
			}
			for _, a := range d.Annotations.List {
				if a.Datasource.UID != "${datasource}" {
					t.Errorf("annotation %s does not use the chosen data source", a.Name)
				}
			}
			ids, taken := map[int]string{}, map[[2]int]string{}
			for _, p := range d.Panels {
				if other := ids[p.ID]; p.ID == 0 || other != "" {
					t.Errorf("%s: id %d, which %q has", p.Title, p.ID, other)
				}
				ids[p.ID] = p.Title
				if p.GridPos.X+p.GridPos.W > 24 {
					t.Errorf("%s: reaches beyond the right edge", p.Title)
				}
				for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
					for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
						if other := taken[[2]int{x, y}]; other != "" {
							t.Fatalf("%s overlaps %s", p.Title, other)
						}
						taken[[2]int{x, y}] = p.Title
					}
				}
				if p.Type != "row" {
					checkPanel(t, p, variables["runner"])
				}
			}
		})
	}
}

var (
	overTime = regexp.MustCompile(`(\w+)\(\w+(?::\w+)*(?:\{[^}]*\})?\[([^\]]+)\]`)
	selector = regexp.MustCompile(`\b(?:ghostrunner_\w+|host\w*:ghostrunner_\w+:\w+|prometheus_\w+|alertmanager_\w+|process_\w+|ALERTS|up|scrape_\w+)\b(\{[^}]*\})?`)
	grouping = regexp.MustCompile(`\b(?:by|on|without|group_left|group_right|ignoring) ?\([^)]*\)`)
)

func checkPanel(t *testing.T, p panelJSON, runners bool) {
	t.Helper()
	if p.Title == "" || len(p.Description) < 10 || p.Datasource.UID != "${datasource}" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
		t.Errorf("panel %q: want a title, a description, a unit, a query and the chosen data source: %+v", p.Title, p)
	}
	if p.Type == "state-timeline" && len(p.FieldConfig.Defaults.Mappings) == 0 {
		t.Errorf("%s: states need names", p.Title)
	}
	refs := map[string]bool{}
	for _, q := range p.Targets {
		if q.Datasource.UID != "${datasource}" || q.RefID == "" || refs[q.RefID] || q.Instant == q.Range {
			t.Errorf("%s: query %+v: want the chosen data source, its own letter, and either an instant or a range", p.Title, q)
		}
		refs[q.RefID] = true
		if q.LegendFormat == "" && p.Type != "table" {
			t.Errorf("%s: %s has no name", p.Title, q.Expr)
		}
		for _, m := range overTime.FindAllStringSubmatch(q.Expr, -1) {
			if rate := m[1] == "rate" || m[1] == "increase" || m[1] == "irate"; rate && !slices.Contains([]string{"$__rate_interval", "$__range", "1h"}, m[2]) {
				t.Errorf("%s: %s over %s: want $__rate_interval, the range shown, or the hour in the title", p.Title, m[1], m[2])
			}
		}
		for _, m := range selector.FindAllStringSubmatch(grouping.ReplaceAllString(q.Expr, ""), -1) {
			if !strings.Contains(m[1], `host=~"$host"`) {
				t.Errorf("%s: %s does not select the chosen hosts, in\n%s", p.Title, m[0], q.Expr)
			}
			if strings.Contains(m[1], "$runner") && !runners {
				t.Errorf("%s: this dashboard has no choice of runners:\n%s", p.Title, q.Expr)
			}
		}
		if strings.Contains(q.Expr, "$__rate_interval") && scrapedEachMinute(q.Expr) != (q.Interval == "1m") {
			t.Errorf("%s: metrics that are scraped once a minute need a step of 1m, others do not: %q\n%s", p.Title, q.Interval, q.Expr)
		}
	}
}

// TestRunbooksAreLinked: a panel links the runbook of every alert, and the runbook exists.
func TestRunbooksAreLinked(t *testing.T) {
	text, err := os.ReadFile("../INCIDENTS.md")
	if err != nil {
		t.Fatal(err)
	}
	headings := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(string(text), -1) {
		headings[runbooks+"#"+strings.ToLower(m[1])] = true
	}
	linked := map[string]bool{}
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, l := range p.Links {
				linked[strings.TrimPrefix(l.Title, "Runbook: ")] = true
				if !headings[l.URL] {
					t.Errorf("%s: %s has no runbook at %s", d.UID, p.Title, l.URL)
				}
			}
		}
	}
	expressions, err := ruleExpressions("../rules")
	if err != nil {
		t.Fatal(err)
	}
	for alert := range expressions {
		if !strings.HasPrefix(alert, "Ghostrunner") {
			continue // a threshold
		}
		if !linked[alert] {
			t.Errorf("no panel links the runbook of %s", alert)
		}
		delete(linked, alert)
	}
	for alert := range linked {
		t.Errorf("a panel links the runbook of %s, which is not an alert", alert)
	}
}

// TestLimitsAreOfTheRules: a rule that was changed moves its line, or fails the generator.
func TestLimitsAreOfTheRules(t *testing.T) {
	got, err := readLimits("../rules")
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]float64{
		"disk low": got.diskLow, "disk critical": got.diskCritical, "clock drift": got.clockDrift, "clock skew": got.clockSkew,
		"rate limit": got.rateLimit, "PAT info": got.patInfo, "PAT warning": got.patWarn, "PAT critical": got.patExpire,
	} {
		if value <= 0 {
			t.Errorf("%s: %v", name, value)
		}
	}
	if !(got.diskCritical < got.diskLow && got.clockDrift < got.clockSkew && got.patExpire < got.patWarn && got.patWarn < got.patInfo) {
		t.Errorf("not in order: %+v", got)
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "rules.yml"), []byte("groups: [{name: x, rules: [{record: x, expr: other, labels: {name: disk_prune_bytes}}]}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readLimits(folder); err == nil || !strings.Contains(fmt.Sprint(err), "disk_prune_bytes") {
		t.Errorf("a rule without its threshold: %v", err)
	}
}
