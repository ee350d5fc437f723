package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A called vulnerability fails unless it is accepted; one in code that is not called does not.
func TestJudge(t *testing.T) {
	const (
		called   = `{"osv":{"id":"GO-1","summary":"It explodes"}} {"finding":{"osv":"GO-1","fixed_version":"v2.0.0","trace":[{"module":"m","version":"v1.0.0","package":"m/p","function":"F"}]}}`
		imported = `{"finding":{"osv":"GO-2","trace":[{"module":"m","version":"v1.0.0","package":"m/p"}]}}`
		frozen   = `{"finding":{"osv":"GO-2026-4883","trace":[{"module":"github.com/docker/docker","version":"v28.5.2+incompatible","package":"p","function":"F"}]}}`
	)
	for _, test := range []struct{ name, in, fails, says string }{
		{"nothing", `{"config":{"go_version":"go1.26"}}`, "", "0 called"},
		{"called", called, "GO-1: It explodes (m v1.0.0, fixed in v2.0.0)", "1 called, 0 of them accepted"},
		{"once imported, once called", imported + strings.ReplaceAll(called, "GO-1", "GO-2"), "GO-2", "1 called"},
		{"imported", imported, "", "0 called, 0 of them accepted; 1 more"},
		{"accepted", frozen, "", "accepted: GO-2026-4883"},
		{"accepted and not", frozen + called, "GO-1", "2 called, 1 of them accepted"},
		{"accepted and gone", imported, "", "GO-2026-4883 is accepted, but no longer found"},
		{"cut off", called[:80], "read the output", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			err := judge(strings.NewReader(test.in), &out)
			if (err == nil) != (test.fails == "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Errorf("error %v, want %q", err, test.fails)
			}
			if !strings.Contains(out.String(), test.says) {
				t.Errorf("said %q, want %q", out.String(), test.says)
			}
			if err != nil && strings.Contains(err.Error(), "GO-2026-4883") {
				t.Errorf("fails for what is accepted: %v", err)
			}
		})
	}
}

// A database that cannot be reached leads to one line and no failure.
func TestDatabaseThatDoesNotAnswer(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	defer broken.Close()
	for _, db := range []string{gone.URL, broken.URL} {
		t.Setenv("GOVULNDB", db)
		var out bytes.Buffer
		if err := run(t.Context(), ".", &out); err != nil {
			t.Errorf("%s: %v", db, err)
		}
		if text := out.String(); !strings.Contains(text, "NOT CHECKED") || strings.Count(text, "\n") != 1 {
			t.Errorf("%s: said %q", db, text)
		}
	}
}

// A database with one vulnerability and a module that calls it, through govulncheck itself.
func TestFindsWhatIsCalled(t *testing.T) {
	db, module := t.TempDir(), t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(db, "index", "db.json"), `{"modified":"2026-01-01T00:00:00Z"}`)
	write(filepath.Join(db, "index", "modules.json"), `[{"path":"stdlib","vulns":[{"id":"GO-2026-0001","modified":"2026-01-01T00:00:00Z"}]}]`)
	write(filepath.Join(db, "ID", "GO-2026-0001.json"), `{"schema_version":"1.3.1","id":"GO-2026-0001","modified":"2026-01-01T00:00:00Z","published":"2026-01-01T00:00:00Z",
		"summary":"Fields are lost","affected":[{"package":{"name":"stdlib","ecosystem":"Go"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],
		"ecosystem_specific":{"imports":[{"path":"strings","symbols":["Fields"]}]}}]}`)
	write(filepath.Join(module, "go.mod"), "module example.test/m\n\ngo 1.26.0\n")
	write(filepath.Join(module, "main.go"), "package main\n\nimport \"strings\"\n\nfunc main() { println(len(strings.Fields(\"a b\"))) }\n")
	t.Setenv("GOVULNDB", "file://"+db)
	var out bytes.Buffer
	err := run(t.Context(), module, &out)
	if err == nil || !strings.Contains(err.Error(), "GO-2026-0001: Fields are lost") {
		t.Errorf("error %v, want GO-2026-0001; it said\n%s", err, out.String())
	}
	write(filepath.Join(module, "main.go"), "package main\n\nfunc main() {}\n")
	if err := run(t.Context(), module, &out); err != nil {
		t.Errorf("a module that does not call it: %v", err)
	}
}
