package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
)

func TestIncident(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.TimeOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return v.AddDate(2026, 10, 24)
	}
	loop := journal.Alert{Fingerprint: "1", StartsAt: at("10:00:00"), Labels: map[string]string{"alertname": "GhostrunnerRunnerRetryLoop", "runner": "ci-runner-1"}}
	other := journal.Alert{Fingerprint: "2", StartsAt: at("10:00:30"), Labels: map[string]string{"alertname": "GhostrunnerRunnerOffline", "runner": "ci-runner-2"}}
	evil := journal.Alert{Fingerprint: "3", StartsAt: at("10:05:00"), Labels: map[string]string{"alertname": "<img src=http://evil.example>|# [x](y)\n## h", "container": "a`b"}}
	list := []journal.Record{
		{Outcome: journal.Completed, Action: "restart", Target: "ci-runner-1", Alert: loop, Began: at("10:00:02"), Ended: at("10:00:06"), Count: 1,
			Evidence: []string{"sent SIGTERM", "left by itself after 500ms"},
			Verdicts: []journal.Verdict{{Guard: "paused", OK: true}, {Guard: "busy", OK: true, Detail: "idle"}}},
		{Outcome: journal.Refused, Action: "restart", Target: "ci-runner-2", Alert: other, Began: at("10:00:31"), Ended: at("10:04:31"), Count: 5,
			Reason: "unknown_state", Detail: "docker lists no process at all"},
		{Outcome: journal.Failed, Action: "restart", Target: "a", Alert: evil, Began: at("10:05:01"), Ended: at("10:08:01"), Count: 1, Reason: "not_verified"},
	}
	var b bytes.Buffer
	writeIncident(&b, list)
	const want = `## INC-NNN: (what broke, in one line)

**When** 2026-11-25 10:00:00 to 2026-11-25 10:08:01, 8m1s.
**What happened** (…)

| time (UTC) | what |
|---|---|
| 2026-11-25 10:00:00 | GhostrunnerRunnerRetryLoop fires for ci-runner-1 |
| 2026-11-25 10:00:02 | restart of ci-runner-1 begins, 2s after the alert |
| 2026-11-25 10:00:06 | restart of ci-runner-1 is done and verified, after 4s |
| 2026-11-25 10:00:30 | GhostrunnerRunnerOffline fires for ci-runner-2 |
| 2026-11-25 10:00:31 | refused: restart of ci-runner-2, unknown state, 5 times within 4m0s |
| 2026-11-25 10:05:00 | \<img src=http\://evil\.example\>\|\# \[x\]\(y\); \#\# h fires for a\` + "`" + `b |
| 2026-11-25 10:05:01 | restart of a begins, 1s after the alert |
| 2026-11-25 10:08:01 | restart of a **failed** after 3m0s: not verified |

**Evidence**

- restart of ci-runner-1, asked for by GhostrunnerRunnerRetryLoop: completed
  - sent SIGTERM
  - left by itself after 500ms
  - guard busy: idle
- restart of ci-runner-2, asked for by GhostrunnerRunnerOffline: refused (unknown state): docker lists no process at all
- restart of a, asked for by \<img src=http\://evil\.example\>\|\# \[x\]\(y\); \#\# h: failed (not verified)

**Why it could** (…)
**What prevents it here** (… and the test that proves it)
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

// TestCommands runs every subcommand against a running program whose engine is down.
func TestCommands(t *testing.T) {
	p := serveInProcess(t, "--docker.host=unix:///does/not/exist.sock")
	payload := filepath.Join(t.TempDir(), "payload.json")
	const body = `{"version":"4","alerts":[
		{"status":"firing","labels":{"alertname":"A\u001b[31m","remediation":"restart","runner":"x"},"startsAt":"2026-01-01T00:00:00Z","fingerprint":"1"},
		{"status":"resolved","labels":{"alertname":"B","remediation":"restart"},"startsAt":"2026-01-01T00:00:00Z","fingerprint":"2"},
		{"status":"firing","labels":{"severity":"x"},"startsAt":"2026-01-01T00:00:00Z","fingerprint":"3"}]}`
	if err := os.WriteFile(payload, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	stdin := func(t *testing.T) {
		f, err := os.Open(payload)
		if err != nil {
			t.Fatal(err)
		}
		old := os.Stdin
		os.Stdin = f
		t.Cleanup(func() { os.Stdin = old; _ = f.Close() })
	}
	for _, c := range []struct {
		name  string
		args  []string
		stdin bool
		code  int
		says  []string
	}{
		{"explain a file", []string{"explain", payload}, false, 0, []string{"A\uFFFD[31m (firing): refuse, restart: unknown_state\n  NO  resolve ", "\n\nB (resolved): ignore, restart: a resolved alert starts nothing\n\n(no name) (firing): ignore: has no label remediation\n"}},
		{"explain stdin", []string{"explain"}, true, 0, []string{"B (resolved): ignore"}},
		{"explain -", []string{"explain", "-"}, true, 0, []string{"B (resolved): ignore"}},
		{"explain as JSON", []string{"explain", "--format=json", payload}, false, 0, []string{`"decision": "refuse"`, `"guard": "resolve"`}},
		{"explain nothing", []string{"explain", "/does/not/exist"}, false, 1, []string{"payload: open /does/not/exist"}},
		{"pause for a time", []string{"pause", "--for=2h"}, false, 0, []string{"paused until 2"}},
		{"pause as JSON", []string{"pause", "--format=json"}, false, 0, []string{`"paused": true`}},
		{"pause", []string{"pause"}, false, 0, []string{"paused until resumed\n"}},
		{"pause for ever", []string{"pause", "--for=1e9h"}, false, 1, []string{"400 Bad Request: for: want a time such as"}},
		{"resume", []string{"resume"}, false, 0, []string{"not paused\n"}},
		{"history", []string{"history"}, false, 0, []string{"TIME  ACTION  TARGET  OUTCOME  REASON  TIMES  ALERT  DETAIL\n"}},
		{"history as JSON", []string{"history", "--format=json", "--since=2026-01-01"}, false, 0, []string{"[]\n"}},
		{"history of tomorrow", []string{"history", "--since=tomorrow"}, false, 1, []string{"400 Bad Request: since: want a time such as"}},
		{"too much history", []string{"history", "--limit=9999"}, false, 1, []string{"400 Bad Request: limit: want a number from 1 to 1500\n"}},
		{"breakers", []string{"breakers"}, false, 0, []string{"RUNNER  BREAKER  UNTIL  PROBATION ENDS  FIRES\n"}},
		{"reset of an unknown runner", []string{"breakers", "reset", "no/body"}, false, 1, []string{"404 Not Found: no such runner\n"}},
		{"incident", []string{"incident"}, false, 0, []string{"Nothing was done or refused since 24h.\n"}},
		{"format", []string{"history", "--format=xml"}, false, 1, []string{"xml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.stdin {
				stdin(t)
			}
			var out, errs bytes.Buffer
			code := run(t.Context(), append([]string{"--remediator.url=" + p.url, "--web.bearer-token-file=" + p.token}, c.args...), &out, &errs)
			said := out.String() + errs.String()
			if code != c.code || (code == 1 && strings.Count(errs.String(), "\n") != 1) {
				t.Errorf("exit %d, %s", code, said)
			}
			for _, s := range c.says {
				if !strings.Contains(said, s) {
					t.Errorf("%q does not say %q", said, s)
				}
			}
			if c.code == 0 && slices.Contains(c.args, "--format=json") && !json.Valid(out.Bytes()) {
				t.Errorf("no JSON: %s", out.String())
			}
		})
	}
}
