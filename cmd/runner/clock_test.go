package main

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
	"github.com/blueguy23/ghostrunner/internal/github"
	"github.com/blueguy23/ghostrunner/internal/lab"
)

// TestClocks checks which source counts, and that none is asked, or waited for, too often.
func TestClocks(t *testing.T) {
	t.Parallel()
	s := newSlot(t)
	ntpConn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ntp := lab.NewNTP(lab.NTPOptions{Offset: 90 * time.Second})
	go func() { _ = ntp.Serve(t.Context(), ntpConn) }()
	silent, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0") // a chronyd that does not answer
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })

	client, err := github.New(github.Options{
		APIURL: s.url, Token: func() (string, error) { return labToken, nil }, Transport: s.http.Transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	scope, err := (&cli.GitHub{Owner: "octo", Repo: "hello"}).Scope()
	if err != nil {
		t.Fatal(err)
	}
	r := &registrar{client: client, scope: scope}
	expect := func(c *clocks, by string, low, high time.Duration) {
		t.Helper()
		o, known := c.offset(t.Context())
		if !known || o.Source != by || o.Ahead < low || o.Ahead > high {
			t.Errorf("offset %v, %v; want one from %v to %v by %s", o, known, low, high, by)
		}
	}
	both := newClocks(config{chrony: silent.LocalAddr().String(), ntpServers: []string{ntpConn.LocalAddr().String()}}, r)
	expect(both, "SNTP", 80*time.Second, 100*time.Second)
	began := time.Now()
	for range 100 {
		expect(both, "SNTP", 80*time.Second, 100*time.Second)
	}
	if took := time.Since(began); took > 100*clockTimeout/2 {
		t.Errorf("100 questions took %v: a silent source is asked, and waited for, each time", took)
	}
	if calls := s.gh.State().Calls; len(calls) != 0 {
		t.Errorf("GitHub was asked too: %v", calls)
	}

	unknown := newClocks(config{chrony: silent.LocalAddr().String()}, r)
	expect(unknown, "GitHub", 0, 0)
	for range 10 {
		expect(unknown, "GitHub", 0, 0)
	}
	if n := len(s.gh.State().Calls); n != 1 {
		t.Errorf("GitHub was asked %d times within seconds", n)
	}
	s.fault("github-date", "-600")
	_, _ = r.Runners(t.Context()) // any answer has a Date
	expect(unknown, "GitHub", 9*time.Minute, 11*time.Minute)
	s.clearFault("github-date")
	expect(unknown, "GitHub", 0, 0) // at once: an offset is not reused

	if o, known := newClocks(config{}, &registrar{client: mustNew(t, "https://127.0.0.1:1"), scope: scope}).offset(t.Context()); known {
		t.Errorf("the time is unknown, and the offset is %v", o)
	}
}

func mustNew(t *testing.T, url string) *github.Client {
	t.Helper()
	c, err := github.New(github.Options{APIURL: url, Token: func() (string, error) { return labToken, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNamesOfGitHub(t *testing.T) {
	for api, want := range map[string]string{
		"https://api.github.com": "api.github.com pipelines.actions.githubusercontent.com", "https://ghes.example/api/v3": "ghes.example",
		"http://127.0.0.1:10070": "", "http://[::1]": "", "http://localhost:1": "", "http://lab:10070": "lab", "": "",
	} {
		if got := strings.Join(githubNames(api), " "); got != want {
			t.Errorf("%q: %q, want %q", api, got, want)
		}
	}
}
