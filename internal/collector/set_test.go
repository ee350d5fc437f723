package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/shirou/gopsutil/v3/disk"

	"github.com/blueguy23/ghostrunner/internal/listener"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

type fakeSource struct {
	name    string
	collect func(ctx context.Context) error
}

func (f fakeSource) Name() string { return f.name }
func (f fakeSource) Collect(ctx context.Context, ch chan<- prometheus.Metric) error {
	gauge(ch, prometheus.NewDesc("ghostrunner_probe_"+f.name, "A probe.", nil, nil), 1)
	return f.collect(ctx)
}

func works(context.Context) error { return nil }

// One source that fails, one that panics and one that hangs cost the healthy one nothing, and all
// of them are reported.
func TestSourcesFailAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		got := exposition(t,
			fakeSource{"good", works},
			fakeSource{"bad", func(context.Context) error { return errors.New("broken") }},
			fakeSource{"mad", func(context.Context) error { panic("mad") }},
			fakeSource{"dead", func(context.Context) error { <-release; return nil }},
		)
		for _, line := range []string{
			`ghostrunner_probe_good 1`, `ghostrunner_probe_bad 1`,
			`ghostrunner_scrape_collector_success{collector="good"} 1`, `ghostrunner_scrape_collector_success{collector="bad"} 0`,
			`ghostrunner_scrape_collector_success{collector="mad"} 0`, `ghostrunner_scrape_collector_success{collector="dead"} 0`,
		} {
			if !strings.Contains(got, line) {
				t.Errorf("%s is missing in\n%s", line, got)
			}
		}
		close(release)
	})
}

// A source that hangs is begun once, not once per scrape, and is asked again when it has come back.
func TestHangingSourceIsNotPiledUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var begun atomic.Int32
		release := make(chan struct{})
		set := NewSet(quiet(), fakeSource{"dead", func(context.Context) error { begun.Add(1); <-release; return nil }})
		scrape := func() (took time.Duration) {
			begin := time.Now()
			read(t, set)
			return time.Since(begin)
		}
		if took := scrape(); took != Timeout {
			t.Errorf("first scrape: %s, want %s", took, Timeout)
		}
		if took := scrape(); took != 0 || begun.Load() != 1 {
			t.Errorf("second scrape: %s, source begun %d times", took, begun.Load())
		}
		close(release)
		synctest.Wait()
		if scrape(); begun.Load() != 2 {
			t.Errorf("after it came back: begun %d times, want 2", begun.Load())
		}
	})
}

func TestErrorsAreLoggedOncePerChange(t *testing.T) {
	var b bytes.Buffer
	var err error
	logger := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	set := NewSet(logger, fakeSource{"disk", func(context.Context) error { return err }})
	for _, e := range []error{nil, errors.New("a"), errors.New("a"), errors.Join(errors.New("a"), errors.New("b")), nil, nil} {
		err = e
		read(t, set)
	}
	const want = `level=WARN msg="Source cannot be read" collector=disk err=a
level=WARN msg="Source cannot be read" collector=disk err="a; b"
level=INFO msg="Source can be read again" collector=disk
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("log: want (-), got (+):\n%s", diff)
	}
}

func TestHandlerSelects(t *testing.T) {
	own := prometheus.NewPedanticRegistry()
	own.MustRegister(collectors.NewGoCollector())
	h := NewSet(quiet(), fakeSource{NameContainer, works}, fakeSource{NameDisk, works}).Handler(own, quiet())
	for query, want := range map[string]struct {
		status  int
		sources string
		own     bool
	}{
		"":                                 {200, "container disk", true},
		"?collect[]=container":             {200, "container", false},
		"?collect[]=disk&collect[]=github": {200, "disk", false}, // github is turned off here
		"?collect[]=exporter":              {200, "", true},
		"?collect[]=nonsense":              {400, "", false},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics"+query, http.NoBody))
		body := w.Body.String()
		var sources []string
		for _, name := range []string{NameContainer, NameDisk} {
			if strings.Contains(body, fmt.Sprintf(`ghostrunner_scrape_collector_success{collector=%q} 1`, name)) {
				sources = append(sources, name)
			}
		}
		if w.Code != want.status || strings.Join(sources, " ") != want.sources || strings.Contains(body, "go_goroutines") != want.own {
			t.Errorf("%q: status %d, sources %q; want %+v:\n%.300s", query, w.Code, sources, want, body)
		}
		if strings.Contains(query, "nonsense") && !strings.Contains(body, strings.Join(names, ", ")) {
			t.Errorf("%q: the answer does not list the names: %q", query, body)
		}
	}
	if !slices.IsSorted(names) {
		t.Errorf("names are not sorted: %q", names)
	}
}

func TestDiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		release := make(chan struct{})
		source := NewDisk(func() []string { return []string{"/mnt/c", "/var/lib/docker"} }, func(_ context.Context, path string) (*disk.UsageStat, error) {
			if path == "/mnt/c" {
				asked.Add(1)
				<-release
			}
			return &disk.UsageStat{Free: 1, Total: 2}, nil
		}, nil)
		collect := func() (series int, took time.Duration, err error) {
			ch := make(chan prometheus.Metric, 10)
			begin := time.Now()
			err = source.Collect(t.Context(), ch)
			return len(ch), time.Since(begin), err
		}
		for i, want := range []time.Duration{diskTimeout, 0, 0} {
			series, took, err := collect()
			if series != 2 || took != want || !errors.Is(err, errNoAnswer) || !strings.Contains(err.Error(), "/mnt/c") || strings.Contains(err.Error(), "docker") {
				t.Errorf("scrape %d: %d series after %s, error %v", i, series, took, err)
			}
		}
		if asked.Load() != 1 {
			t.Errorf("asked %d times while the first question was open, want 1", asked.Load())
		}
		close(release)
		synctest.Wait()
		if series, _, err := collect(); series != 4 || err != nil {
			t.Errorf("after it came back: %d series, error %v", series, err)
		}
	})
}

// Slots of the same name in two scopes: each container's registration is looked for in its own
// scope, and where both run at once under one name, neither is shown for the other, and it is said.
func TestSameNameInTwoScopes(t *testing.T) {
	scopes := fakeGitHub{Scopes: []runner.Scope{
		{Name: "o/r", LastSuccess: time.Now(), Runners: []runner.Registration{{ID: 1, Name: "a-1", Status: "online"}, {ID: 2, Name: "b-1", Status: "online", Busy: true}}},
		{Name: "org", LastSuccess: time.Now(), Runners: []runner.Registration{{ID: 3, Name: "a-9"}, {ID: 4, Name: "b-9"}}},
	}}
	running := func(slot, scope string) runner.Container {
		return runner.Container{Role: "runner", Runner: slot, Scope: scope, State: "running"}
	}
	for name, tc := range map[string]struct {
		containers     []runner.Container
		wants, without []string
	}{
		"one here": {
			[]runner.Container{running("a", ""), running("b", "org")},
			[]string{`runner_online{runner="a"} 1`, `runner_online{runner="b"} 0`, `runner_busy{runner="b"} 0`, `name="b-9"`, `collector_success{collector="github"} 1`},
			[]string{`name="b-1"`, `name="a-9"`},
		},
		"both at once": {
			[]runner.Container{running("a", ""), running("b", ""), running("b", "org")},
			[]string{`runner_online{runner="a"} 1`, `collector_success{collector="github"} 0`},
			[]string{`runner="b"`},
		},
		"a scope that is not polled": {
			[]runner.Container{running("a", "elsewhere"), running("b", "org")},
			[]string{`runner_online{runner="b"} 0`, `collector_success{collector="github"} 1`},
			[]string{`runner="a"`},
		},
	} {
		got := exposition(t, NewGitHub(scopes, docker(true, tc.containers), fakeLogs(nil)))
		for _, want := range tc.wants {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %s is missing in\n%s", name, want, got)
			}
		}
		for _, not := range tc.without {
			if strings.Contains(got, not) {
				t.Errorf("%s: %s is in\n%s", name, not, got)
			}
		}
	}
	err := NewGitHub(scopes, docker(true, []runner.Container{running("b", ""), running("b", "org")}), fakeLogs(nil)).Collect(t.Context(), make(chan prometheus.Metric, 100))
	if err == nil || !strings.Contains(err.Error(), "runner b: containers of o/r and of org have this slot name") {
		t.Errorf("%v", err)
	}
}

// A slot stays known while Docker is down, so that GitHub's view of it does.
func TestSlotsOutliveDocker(t *testing.T) {
	containers := docker(true, []runner.Container{{Role: "runner", Runner: "a"}})
	source := NewGitHub(fakeGitHub{Scopes: []runner.Scope{{Name: "o/r", LastSuccess: time.Now(), Runners: []runner.Registration{{Name: "a-1", Status: "online"}}}}},
		&containers, fakeLogs(nil))
	for _, up := range []bool{true, false} {
		containers.up = up
		if got := exposition(t, source); !strings.Contains(got, `ghostrunner_runner_online{runner="a"} 1`) {
			t.Errorf("up %t:\n%s", up, got)
		}
	}
}

func TestFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct {
			name string
			t    time.Time
			want bool
		}{
			{"never", time.Time{}, false},
			{"now", now, true},
			{"just in time", ago(StaleAfter), true},
			{"just too old", ago(StaleAfter + 1), false},
			{"the clock was set back a little", ago(-time.Minute), true},
			{"the clock was set back an hour", ago(-time.Hour), false},
		} {
			if got := fresh(tc.t); got != tc.want {
				t.Errorf("%s: %t", tc.name, got)
			}
		}
	})
}

// manyRunners is a set over n runners.
func manyRunners(n int) *Set {
	containers := docker(true, nil)
	scope := runner.Scope{Name: "o/r", LastAttempt: time.Now(), Up: true, LastSuccess: time.Now()}
	logs := make(fakeLogs, 0, n)
	for i := range n {
		name := fmt.Sprintf("ci-runner-%04d", i)
		containers.containers = append(containers.containers,
			runner.Container{Name: "gr-" + name, Role: "runner", Runner: name, State: "running", Health: "healthy"})
		scope.Runners = append(scope.Runners, runner.Registration{ID: int64(i), Name: name + "-abcdef", OS: "linux", Status: "online", Labels: []string{"self-hosted", "linux", "x64"}})
		var session listener.Session
		logs = append(logs, listener.Slot{Runner: name, Known: true, State: listener.State{Version: "2.336.0"}, Counts: session.Counts()})
	}
	return NewSet(quiet(), NewContainer(&containers), NewHealth(&containers), NewListener(logs, &containers, threeJobs()),
		NewGitHub(fakeGitHub{Scopes: []runner.Scope{scope}}, &containers, logs))
}

// read reads the set as a scrape does.
func read(t *testing.T, set *Set) {
	t.Helper()
	if _, err := set.Gather(); err != nil {
		t.Error(err)
	}
}

// discard is the answer to a request of which only the length matters.
type discard struct {
	header http.Header
	status int
	length int
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(s int)   { d.status = s }
func (d *discard) Write(b []byte) (int, error) {
	d.length += len(b)
	return len(b), nil
}

func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{2, 1000} {
		b.Run(fmt.Sprintf("runners=%d", n), func(b *testing.B) {
			h := manyRunners(n).Handler(prometheus.NewRegistry(), quiet())
			req := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics", http.NoBody)
			req.Header.Set("Accept-Encoding", "gzip")
			req.Header.Set("Accept", "text/plain;version=1.0.0;escaping=allow-utf-8") // as Prometheus 3
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			var took []time.Duration
			for b.Loop() {
				begin := time.Now()
				w.length = 0
				h.ServeHTTP(w, req)
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(float64(w.length), "bytes/scrape")
			b.ReportMetric(took[len(took)*99/100].Seconds()*1e3, "p99-ms")
		})
	}
}
