package rules_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"gopkg.in/yaml.v3"
)

// A metric name in a rule or a dashboard that no program exports causes no error: the alert never
// fires. So every name and every label is looked up in the table in docs/metrics.md, which lists
// what the programs export (internal/metrics_test.go).

const (
	metricsPage = "../docs/metrics.md"
	dashboards  = "../dashboards"
)

func TestMetricsExist(t *testing.T) {
	prometheus, known, kept := startPrometheus(t), knownMetrics(t), engines(t)
	var all []parsed
	for _, e := range append(ruleExpressions(t), dashboardExpressions(t)...) {
		tree, err := prometheus.parse(t.Context(), e.text)
		if err != nil {
			t.Errorf("%s: %v\n%s", e.where, err, e.text)
			continue
		}
		all = append(all, parsed{e, tree})
		if e.record != "" {
			known[e.record] = anyLabel() // until it is looked at below
		}
	}
	for _, e := range all {
		if e.record != "" {
			known[e.record] = union((&checker{known: known, engines: kept}).labels(e.tree), e.labels)
		}
	}
	for _, e := range all {
		c := checker{known: known, engines: kept}
		c.labels(e.tree)
		for _, problem := range c.problems {
			t.Errorf("%s: %s, in\n%s", e.where, problem, e.text)
		}
	}
}

// TestRulesNameNoContainer: a rule that names a container, a runner or a machine fits one
// installation only.
func TestRulesNameNoContainer(t *testing.T) {
	prometheus := startPrometheus(t)
	for _, e := range ruleExpressions(t) {
		if e.template {
			continue // uses the alert's own labels
		}
		tree, err := prometheus.parse(t.Context(), e.text)
		if err != nil {
			t.Errorf("%s: %v", e.where, err)
			continue
		}
		tree.walk(func(n *node) {
			for _, m := range n.Matchers {
				if slices.Contains([]string{"container", "runner", "target", "host", "instance"}, m.Name) && m.Value != "" {
					t.Errorf("%s: %s{%s%s%q} names one of them; select by other labels", e.where, n.Name, m.Name, m.Type, m.Value)
				}
			}
		})
	}
}

// TestCheckerFindsFaults gives the checker expressions with and without a fault.
func TestCheckerFindsFaults(t *testing.T) {
	prometheus := startPrometheus(t)
	known := map[string]labelSet{"a": set("host", "x"), "b": set("host", "x", "y"), "ALERTS": anyLabel()}
	for _, test := range []struct{ expr, want string }{
		{`sum by (host, x) (rate(a{x="1"}[5m])) > on (host, x) group_left (y) max by (host, x, y) (b)`, ""},
		{`label_replace(a, "z", "$1", "x", "(.+)") * on (z) group_right () label_replace(b, "z", "$1", "y", "(.+)")`, ""},
		{`sum by (z) (label_replace(a, "z", "$1", "x", "(.+)"))`, ""},
		{`sum by (anything) (ALERTS{whatever="1"}) or vector(1)`, ""},
		{`sum by (y) (a or b)`, ""},
		{`sum by (x) (min by (x) (max_over_time(a[1h:5m])))`, ""},
		{`c`, "no program exports c"},
		{`{__name__=~"a|b"}`, "a selector without a name"},
		{`max_over_time(rate(c[5m])[1h:])`, "no program exports c"},
		{`a{y="1"}`, "has no label y"},
		{`rate(a{y=""}[5m])`, "has no label y"},
		{`sum by (y) (a)`, "no label y"},
		{`sum by (x) (sum by (host) (a))`, "no label x"},
		{`sum by (x) (sum without (x) (a))`, "no label x"},
		{`a and on (y) b`, "no label y"},
		{`b and on (y) a`, "no label y"},
		{`sum by (y) (b and a) + sum by (y) (a and b)`, "no label y"},
		{`a * on (x) group_left (z) b`, "no label z"},
		{`sum by (y) (b * on (x) a)`, "no label y"},
		{`label_replace(a, "z", "$1", "y", "(.+)")`, "no label y"},
		{`topk(3, c)`, "no program exports c"},
		{`quantile(scalar(c), a)`, "no program exports c"},
		{`1 + -(c)`, "no program exports c"},
	} {
		tree, err := prometheus.parse(t.Context(), test.expr)
		if err != nil {
			t.Errorf("%s: %v", test.expr, err)
			continue
		}
		c := checker{known: known}
		c.labels(tree)
		if got := strings.Join(c.problems, "; "); (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: found %q, want %q", test.expr, got, test.want)
		}
	}
}

// labelSet is the set of labels that a vector can have. "*" stands for any label.
type labelSet map[string]bool

func set(names ...string) labelSet {
	s := labelSet{}
	for _, name := range names {
		s[name] = true
	}
	return s
}

func anyLabel() labelSet { return set("*") }

func (s labelSet) has(name string) bool { return s[name] || s["*"] }

func union(sets ...labelSet) labelSet {
	all := labelSet{}
	for _, s := range sets {
		maps.Copy(all, s)
	}
	return all
}

// knownMetrics returns the metrics of the table and those that Prometheus itself adds, each with
// its labels.
func knownMetrics(t *testing.T) map[string]labelSet {
	t.Helper()
	target := set("host", "job", "instance")
	known := map[string]labelSet{"ALERTS": anyLabel(), "ALERTS_FOR_STATE": anyLabel()}
	for _, name := range []string{"up", "scrape_duration_seconds", "scrape_samples_scraped"} {
		known[name] = target
	}
	_, table, _ := strings.Cut(read(t, metricsPage), "<!-- metrics: begin -->")
	table, _, _ = strings.Cut(table, "<!-- metrics: end -->")
	rows := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| ([^|]*) \\|").FindAllStringSubmatch(table, -1)
	if len(rows) == 0 {
		t.Fatalf("no table of metrics in %s", metricsPage)
	}
	for _, row := range rows {
		labels := union(target, set(strings.FieldsFunc(row[3], func(r rune) bool { return r == ',' || r == ' ' })...))
		known[row[1]] = labels
		if row[2] == "histogram" {
			known[row[1]+"_bucket"] = union(labels, set("le"))
			known[row[1]+"_sum"], known[row[1]+"_count"] = labels, labels
		}
	}
	return known
}

// engines matches the metrics of Prometheus and Alertmanager that the configuration keeps.
func engines(t *testing.T) *regexp.Regexp {
	t.Helper()
	var config struct {
		Jobs []struct {
			Relabel []struct {
				Source        []string `yaml:"source_labels"`
				Regex, Action string
			} `yaml:"metric_relabel_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(read(t, prometheusConfig)), &config); err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, job := range config.Jobs {
		for _, r := range job.Relabel {
			if r.Action == "keep" && slices.Equal(r.Source, []string{"__name__"}) {
				kept = append(kept, r.Regex)
			}
		}
	}
	if len(kept) == 0 {
		t.Fatalf("%s keeps no metrics of the engines", prometheusConfig)
	}
	return regexp.MustCompile("^(?:" + strings.Join(kept, "|") + ")$")
}

// checker follows the labels through an expression and records what is impossible.
type checker struct {
	known    map[string]labelSet
	engines  *regexp.Regexp // metrics of Prometheus and Alertmanager; nil: none
	problems []string
}

func (c *checker) problem(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// need records which of the labels a part cannot have.
func (c *checker) need(part string, have labelSet, labels ...string) {
	for _, l := range labels {
		if !have.has(l) {
			c.problem("%s has no label %s", part, l)
		}
	}
}

// labels returns the labels that the result can have.
func (c *checker) labels(n *node) labelSet {
	if n == nil {
		return labelSet{}
	}
	switch n.Type {
	case "vectorSelector", "matrixSelector":
		return c.selector(n)
	case "aggregation":
		c.labels(n.Param)
		inner := c.labels(n.Expr)
		c.need("what "+n.Op+" reads", inner, n.Grouping...)
		switch {
		case slices.Contains([]string{"topk", "bottomk", "limitk", "limit_ratio"}, n.Op):
			return inner // these select series and change none
		case !n.Without:
			return set(n.Grouping...)
		}
		rest := union(inner)
		for _, l := range n.Grouping {
			delete(rest, l)
		}
		return rest
	case "binaryExpr":
		return c.binary(n)
	case "call":
		return c.call(n)
	case "numberLiteral", "stringLiteral":
		return labelSet{}
	case "parenExpr", "unaryExpr", "subquery":
		return c.labels(n.Expr)
	default:
		c.problem("unknown part of an expression: %q", n.Type)
		return anyLabel()
	}
}

func (c *checker) selector(n *node) labelSet {
	if n.Name == "" {
		c.problem("a selector without a name")
		return anyLabel()
	}
	labels, ok := c.known[n.Name]
	switch {
	case !ok && c.engines != nil && c.engines.MatchString(n.Name):
		return anyLabel()
	case !ok:
		c.problem("no program exports %s", n.Name)
		return anyLabel()
	}
	for _, m := range n.Matchers {
		if m.Name != "__name__" {
			c.need(n.Name, labels, m.Name)
		}
	}
	return labels
}

func (c *checker) binary(n *node) labelSet {
	left, right := c.labels(n.LHS), c.labels(n.RHS)
	if n.Matching == nil {
		return union(left, right) // one of them is a number and has no labels
	}
	c.need("the left side of "+n.Op, left, n.Matching.Labels...)
	c.need("the right side of "+n.Op, right, n.Matching.Labels...)
	switch {
	case n.Op == "or":
		return union(left, right)
	case n.Op == "and" || n.Op == "unless":
		return left
	case n.Matching.Card == "many-to-one":
		c.need("the right side of "+n.Op, right, n.Matching.Include...)
		return union(left, set(n.Matching.Include...))
	case n.Matching.Card == "one-to-many":
		c.need("the left side of "+n.Op, left, n.Matching.Include...)
		return union(right, set(n.Matching.Include...))
	case n.Matching.On:
		return set(n.Matching.Labels...)
	}
	return left
}

func (c *checker) call(n *node) labelSet {
	all := labelSet{}
	for _, arg := range n.Args {
		all = union(all, c.labels(arg))
	}
	switch n.Func.Name {
	case "label_replace": // (vector, to, replacement, from, regexp)
		c.need("what label_replace changes", all, n.Args[3].Val)
		return union(all, set(n.Args[1].Val))
	case "label_join": // (vector, to, separator, from...)
		for _, from := range n.Args[3:] {
			c.need("what label_join changes", all, from.Val)
		}
		return union(all, set(n.Args[1].Val))
	case "histogram_quantile":
		delete(all, "le")
	}
	return all
}

// walk visits a tree.
func (n *node) walk(visit func(*node)) {
	if n == nil {
		return
	}
	visit(n)
	for _, part := range append(slices.Clone(n.Args), n.Expr, n.Param, n.LHS, n.RHS) {
		part.walk(visit)
	}
}

// expression is PromQL and its place.
type expression struct {
	where, text string
	record      string   // what the rule records
	labels      labelSet // added by the rule
	template    bool     // a query in a template of the alert
}

type parsed struct {
	expression

	tree *node
}

// ruleExpressions returns the expressions of the rules and the queries in their templates.
func ruleExpressions(t *testing.T) []expression {
	t.Helper()
	var all []expression
	for _, file := range glob(t, "*.yml") {
		var content struct {
			Groups []struct {
				Rules []struct {
					Rule   `yaml:",inline"`
					Record string
				}
			}
		}
		if err := yaml.Unmarshal([]byte(read(t, file)), &content); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, group := range content.Groups {
			for _, r := range group.Rules {
				where := file + ": " + r.Alert + r.Record
				all = append(all, expression{where: where, text: r.Expr, record: r.Record, labels: set(slices.Collect(maps.Keys(r.Labels))...)})
				for _, templates := range []map[string]string{r.Labels, r.Annotations} {
					for name, text := range templates {
						queries, err := templateQueries(text)
						if err != nil {
							t.Errorf("%s: %s: %v", where, name, err)
						}
						for _, text := range queries {
							all = append(all, expression{where: where + ": " + name, text: text, template: true})
						}
					}
				}
			}
		}
	}
	return all
}

// templateQueries executes a template as Prometheus does (prometheus/prometheus
// template/template.go), once with and once without a result of its queries, and returns the
// queries.
func templateQueries(text string) ([]string, error) {
	type sample struct {
		Labels map[string]string
		Value  float64
	}
	var queries []string
	for _, result := range [][]sample{nil, {{}}} {
		functions := template.FuncMap{
			"query": func(q string) []sample {
				queries = append(queries, q)
				return result
			},
			"first": func(all []sample) sample { return append(all, sample{})[0] },
			"value": func(s sample) float64 { return s.Value },
		}
		for _, name := range []string{"humanize", "humanize1024", "humanizeDuration", "humanizePercentage", "humanizeTimestamp"} {
			functions[name] = func(any) string { return "" }
		}
		compiled, err := template.New("").Funcs(functions).Option("missingkey=zero").Parse("{{$labels := .Labels}}{{$value := .Value}}" + text)
		if err != nil {
			return nil, err
		}
		if err := compiled.Execute(io.Discard, sample{Labels: map[string]string{"host": "h"}}); err != nil {
			return nil, err
		}
	}
	slices.Sort(queries)
	return slices.Compact(queries), nil
}

// dashboardExpressions returns the expressions of every dashboard, of which each must have some.
func dashboardExpressions(t *testing.T) []expression {
	t.Helper()
	var all []expression
	for _, file := range glob(t, filepath.Join(dashboards, "*.json")) {
		var content any
		if err := json.Unmarshal([]byte(read(t, file)), &content); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		found := grafana(content)
		if len(found) == 0 {
			t.Errorf("%s has no query", file)
		}
		for _, text := range found {
			all = append(all, expression{where: file, text: text})
		}
	}
	return all
}

// Grafana's variables in place of a duration or a number in PromQL; others are in strings and need
// no change.
var (
	duration    = regexp.MustCompile(`\$\{?__(rate_interval|interval|range)\}?\b`)
	number      = regexp.MustCompile(`\$\{?__(interval_ms|range_m?s|from|to)\}?\b`)
	labelValues = regexp.MustCompile(`^label_values\((.+),\s*(\w+)\)$`)
	queryResult = regexp.MustCompile(`^query_result\((.+)\)$`)
)

// grafana finds the expressions in a dashboard: "expr" of panels and annotations, and "query" of
// variables.
func grafana(v any) []string {
	var found []string
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			found = append(found, grafana(item)...)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			text, isText := v[key].(string)
			switch {
			case !isText:
				found = append(found, grafana(v[key])...)
			case key == "expr":
				found = append(found, text)
			case key == "query" && labelValues.MatchString(text):
				found = append(found, labelValues.ReplaceAllString(text, "count by ($2) ($1)"))
			case key == "query" && queryResult.MatchString(text):
				found = append(found, queryResult.ReplaceAllString(text, "$1"))
			}
		}
	}
	for i, text := range found {
		found[i] = duration.ReplaceAllString(number.ReplaceAllString(text, "1"), "5m")
	}
	return found
}
