package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/cmd/internal/clitest"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

func TestScopesOf(t *testing.T) {
	scopes, err := scopesOf([]runner.Container{
		{Name: "a", Runner: "a", Scope: "org"}, {Name: "b", Runner: "b"}, {Name: "c", Runner: "c", Scope: "org"}, {Name: "d", Runner: "d", Scope: "o/r"},
		{Name: "db", Scope: "not-a-runner"}, {Name: "e", Runner: "e", Scope: "x\n/y/z"}, {Name: "f", Runner: "f", Scope: strings.Repeat("x", 1000)},
	})
	if fmt.Sprint(scopes) != "[org o/r]" || err == nil || !strings.HasPrefix(err.Error(), `e: ghostrunner.scope="x\n/y/z", f: ghostrunner.scope="xxx`) || len(err.Error()) > 300 {
		t.Errorf("%v, %v", scopes, err)
	}
}

// TestLabelScopes keeps what labels said while Docker is down, and complains about each bad label
// once.
func TestLabelScopes(t *testing.T) {
	var log clitest.Output
	up, containers := true, []runner.Container{{Name: "a", Runner: "a", Scope: "org"}, {Name: "b", Runner: "b", Scope: "b d"}}
	l := labelScopes{containers: func() ([]runner.Container, bool) { return containers, up }, logger: slog.New(slog.NewTextHandler(&log, nil))}
	for range 3 {
		if got := l.current(); fmt.Sprint(got) != "[org]" {
			t.Errorf("%v", got)
		}
	}
	up, containers = false, nil
	if got := l.current(); fmt.Sprint(got) != "[org]" {
		t.Errorf("without Docker: %v", got)
	}
	up = true
	if got := l.current(); len(got) != 0 {
		t.Errorf("without containers: %v", got)
	}
	if n := strings.Count(log.String(), "is not a scope of GitHub"); n != 1 || !strings.Contains(log.String(), "remedy=") {
		t.Errorf("logged %d times:\n%s", n, &log)
	}
}

// manyPlaces is a GitHub in which each place has its own runners, and some are closed to the token.
type manyPlaces struct {
	runners map[string]string // by path: name of the one runner; else 404

	mu    sync.Mutex
	asked map[string]int
}

func (m *manyPlaces) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.URL.Path, "/actions/runners")
	m.mu.Lock()
	m.asked[path]++
	m.mu.Unlock()
	name, ok := m.runners[path]
	if !ok {
		w.Header().Set("X-RateLimit-Limit", "5000")
		w.WriteHeader(http.StatusNotFound)
		reply(w, map[string]string{"message": "Not Found"})
		return
	}
	reply(w, map[string]any{"total_count": 1, "runners": []map[string]any{{"id": 7, "name": name, "os": "linux", "status": "online", "labels": []any{}}}})
}

// TestSeveralScopes has a repository and an enterprise configured, and an organization that only a
// label names. Slots and registrations have the same names everywhere.
func TestSeveralScopes(t *testing.T) {
	clean(t)
	gh := &manyPlaces{asked: map[string]int{}, runners: map[string]string{
		"/repos/o/r": "ci-runner-1-here", "/orgs/Labeled": "ci-runner-2-x", "/enterprises/big": "ci-runner-2-not-ours",
	}}
	s := httptest.NewServer(gh)
	t.Cleanup(s.Close)
	runner := func(id, slot, scope string) map[string]any {
		return map[string]any{
			"Id": strings.Repeat(id, 64), "Names": []string{"/gr-" + slot + "-" + id}, "State": "running", "Status": "Up 2 minutes",
			"Labels":  map[string]string{"ghostrunner.role": "runner", "ghostrunner.runner": slot, "ghostrunner.scope": scope},
			"Created": time.Now().Add(-time.Hour).Unix(),
		}
	}
	docker := fakeDocker(t, t.TempDir(), runner("d", "ci-runner-2", "Labeled"), runner("e", "ci-runner-3", "o/closed"), runner("f", "ci-runner-4", "no scope"))
	t.Setenv("GITHUB_PAT", secret)
	args := []string{"--docker.host=" + docker, "--github.owner=o", "--github.repo=r", "--github.scope=enterprises/big, O/R", "--github.api-url=" + s.URL}

	code, table := checked(t, args...)
	has(t, table, "github      ok     o/r has 1 runner, 1 online", "github      ok     enterprises/big has 1 runner", "github      ok     Labeled has 1 runner",
		"github      FAIL   list runners of o/closed: not_found", `ghostrunner.scope="no scope"`, "→ set the label ghostrunner.scope to")
	if code != 1 {
		t.Errorf("exit code %d", code)
	}

	t.Setenv("GITHUB_PAT", secret)
	b := boot(t, append(args, "--github.poll-interval=1s")...)
	body := b.exports(
		`ghostrunner_github_up{scope="o/r"} 1`, `ghostrunner_github_up{scope="enterprises/big"} 1`, `ghostrunner_github_up{scope="Labeled"} 1`,
		`ghostrunner_github_up{scope="o/closed"} 0`, `ghostrunner_runner_online{runner="ci-runner-1"} 1`,
		`ghostrunner_runner_info{labels="",name="ci-runner-2-x",os="linux",runner="ci-runner-2",scope="Labeled"`,
		`ghostrunner_github_runners{scope="enterprises/big",state="idle"} 1`,
	)
	b.without(body, `ghostrunner_runner_online{runner="ci-runner-3"}`, `ghostrunner_runner_online{runner="ci-runner-4"}`, `ghostrunner_github_up{scope="O/R"}`)
	b.logsOnce("A container's label is not a scope of GitHub")
}
