package stack

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The error is one line that names the port and the variable that changes it.
func TestPortInUseIsNamed(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	port := l.Addr().(*net.TCPAddr).Port
	t.Setenv("PROMETHEUS_PORT", strconv.Itoa(port))
	s, err := New(Options{Project: "test", FirstPort: 31068, Out: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	err = s.portsFree(t.Context())
	if err == nil || !strings.Contains(err.Error(), strconv.Itoa(port)) || !strings.Contains(err.Error(), "PROMETHEUS_PORT") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line with %d and PROMETHEUS_PORT", err, port)
	}
}

// A second run of the same stack would remove the containers of the first one.
func TestProjectIsLocked(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	one, two, other := &Stack{opts: Options{Project: "same"}}, &Stack{opts: Options{Project: "same"}}, &Stack{opts: Options{Project: "other"}}
	for _, s := range []*Stack{one, one, other} {
		if err := s.claim(); err != nil {
			t.Fatal(err)
		}
	}
	if err := two.claim(); err == nil || !strings.Contains(err.Error(), "another run of same") {
		t.Errorf("a second run: %v", err)
	}
	if err := one.claimed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := two.claim(); err != nil {
		t.Errorf("after the first: %v", err)
	}
}

func TestInvalidPortIsNamed(t *testing.T) {
	for _, bad := range []string{"http", "0", "65536"} {
		t.Setenv("LAB_PORT", bad)
		if _, err := New(Options{Project: "test", FirstPort: 31068, Out: io.Discard}); err == nil || !strings.Contains(err.Error(), "LAB_PORT") {
			t.Errorf("LAB_PORT=%s: %v", bad, err)
		}
	}
}

func TestDemoShortensOnlyDurations(t *testing.T) {
	s, err := New(Options{Project: "test", FirstPort: 31068, Out: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	s.dir = t.TempDir()
	if err := s.writeConfig(); err != nil {
		t.Fatal(err)
	}
	waiting := regexp.MustCompile(`^\s+(- )?(for|keep_firing_for|\w*interval|scrape_timeout): `)
	changed := 0
	for shipped, written := range map[string]string{
		"rules/causes.yml": "rules/causes.yml", "rules/remediation.yml": "rules/remediation.yml",
		"rules/runners.yml": "rules/runners.yml", "rules/pipeline.yml": "rules/pipeline.yml",
		"compose/prometheus/prometheus.yml":           "prometheus/prometheus.yml",
		"compose/prometheus/targets/alertmanager.yml": "targets/alertmanager.yml",
		"compose/alertmanager/alertmanager.yml":       "alertmanager/alertmanager.yml",
	} {
		want, got := lines(t, filepath.Join(s.root, shipped)), lines(t, filepath.Join(s.dir, written))
		if len(want) != len(got) {
			t.Fatalf("%s has %d lines, shipped are %d", written, len(got), len(want))
		}
		for i := range want {
			if want[i] == got[i] {
				continue
			}
			changed++
			if !waiting.MatchString(want[i]) {
				t.Errorf("%s:%d: %q became %q", shipped, i+1, want[i], got[i])
			}
		}
	}
	if changed < 20 {
		t.Errorf("only %d lines were shortened: the patterns no longer fit the files", changed)
	}
}

// The bench's figures are those of the shipped configuration.
func TestShippedConfigurationIsUnchanged(t *testing.T) {
	s, err := New(Options{Project: "test", FirstPort: 31068, Shipped: true, Out: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	s.dir = t.TempDir()
	if err := s.writeConfig(); err != nil {
		t.Fatal(err)
	}
	for shipped, written := range map[string]string{
		"rules/remediation.yml": "rules/remediation.yml", "rules/causes.yml": "rules/causes.yml",
		"compose/prometheus/prometheus.yml":     "prometheus/prometheus.yml",
		"compose/alertmanager/alertmanager.yml": "alertmanager/alertmanager.yml",
	} {
		if want, got := lines(t, filepath.Join(s.root, shipped)), lines(t, filepath.Join(s.dir, written)); !slices.Equal(want, got) {
			t.Errorf("%s was changed on its way to the stack", shipped)
		}
	}
}

// A stand-in for the docker command answers as on a machine with a registry, or without one.
func TestImagesArePulledFromRegistry(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		pulled bool
	}{
		"registry":    {`case "$1" in image) exit 1;; manifest|pull) exit 0;; *) exit 9;; esac`, true},
		"no registry": {`exit 1`, false},
		"broken pull": {`case "$1" in manifest) exit 0;; *) exit 1;; esac`, false},
	} {
		t.Run(name, func(t *testing.T) {
			bin := t.TempDir()
			if err := os.WriteFile(filepath.Join(bin, "docker"), []byte("#!/bin/sh\n"+c.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			// Building is the alternative; it must not be done here.
			if err := os.WriteFile(filepath.Join(bin, "make"), []byte("#!/bin/sh\nexit 7\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			s := &Stack{opts: Options{Out: io.Discard}, root: t.TempDir()}
			ref, err := s.serverImage(t.Context(), server{"prometheus", "prom/prometheus:v3.16.0", nobody, "/prometheus"})
			if c.pulled && (err != nil || ref != "prom/prometheus:v3.16.0") {
				t.Errorf("got %q, %v; want the published image", ref, err)
			}
			if !c.pulled && (err == nil || !strings.Contains(err.Error(), "build prometheus")) {
				t.Errorf("got %q, %v; want it to be built", ref, err)
			}
		})
	}
}

func TestAwaitErrorNamesCondition(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := Await(ctx, "the moon", func(context.Context) (bool, error) { return false, errors.New("clouds") })
	if err == nil || !strings.Contains(err.Error(), "the moon") || !strings.Contains(err.Error(), "clouds") {
		t.Errorf("got %v", err)
	}
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "\n")
}

// Sum adds one metric only, even if other names start with it, and only series with the labels.
func TestSumMatchesNameAndLabels(t *testing.T) {
	page := Page("# TYPE a counter\na{x=\"1\",y=\"1\"} 2\na{x=\"2\",y=\"1\"} 3\nab{x=\"1\"} 4\nb 1.5e+06\nc nothing\n")
	for _, test := range []struct {
		name   string
		labels map[string]string
		want   float64
		found  bool
	}{
		{"a", nil, 5, true},
		{"a", map[string]string{"x": "2"}, 3, true},
		{"a", map[string]string{"x": "1", "y": "1"}, 2, true},
		{"a", map[string]string{"x": "3"}, 0, false},
		{"b", nil, 1.5e6, true},
		{"none", nil, 0, false},
	} {
		if sum, found, err := page.Sum(test.name, test.labels); sum != test.want || found != test.found || err != nil {
			t.Errorf("%s with %v: %v, %t, %v; want %v, %t", test.name, test.labels, sum, found, err, test.want, test.found)
		}
	}
	if _, _, err := page.Sum("c", nil); err == nil {
		t.Error("a value that is no number was added")
	}
}

// Other containers and events are skipped, and the end of the stream is an error.
func TestAwaitEventSkipsOthers(t *testing.T) {
	events := make(chan Event, 3)
	at := time.Unix(7, 0)
	for _, e := range []Event{{Action: "kill", Container: "other"}, {Action: "start", Container: "one"}, {Action: "kill", Container: "one", At: at}} {
		events <- e
	}
	if e, err := AwaitEvent(t.Context(), events, "one", "kill"); err != nil || !e.At.Equal(at) {
		t.Errorf("%+v, %v", e, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := AwaitEvent(ended, events, "one", "kill"); !errors.Is(err, context.Canceled) {
		t.Errorf("no event, and ctx has ended: %v", err)
	}
	close(events)
	if _, err := AwaitEvent(t.Context(), events, "one", "kill"); err == nil {
		t.Error("the end of the stream is not an error")
	}
}
