package github

import (
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

func TestParseExpiry(t *testing.T) {
	for in, want := range map[string]string{
		"2023-01-31 23:00:00 UTC":   "2023-01-31T23:00:00Z",
		"2023-04-26 23:23:18 +0200": "2023-04-26T21:23:18Z",
		"2023-04-26 23:23:18 -0330": "2023-04-27T02:53:18Z",
		" 2030-01-01 00:00:00 GMT ": "2030-01-01T00:00:00Z",
		"2023-04-26T23:23:18Z":      "2023-04-26T23:23:18Z",
		"":                          "", "never": "", "0001-01-01 00:00:00 UTC": "", "2023-13-01 00:00:00 UTC": "", "1682544198": "",
	} {
		got, ok := parseExpiry(in)
		if ok != (want != "") || ok && got.Format(time.RFC3339) != want {
			t.Errorf("%q: %v, %v", in, got, ok)
		}
	}
}

func FuzzParseExpiry(f *testing.F) {
	for _, s := range []string{"2023-01-31 23:00:00 UTC", "2023-04-26 23:23:18 +0200", "9999-12-31 23:59:59 -2359", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseExpiry(s)
		if ok == got.IsZero() || ok && (got.Location() != time.UTC || got.Year() < 2007 || got.Year() > 10000) {
			t.Errorf("%q: %v, %v", s, got, ok)
		}
	})
}

// FuzzAnswer has arbitrary answers: no panic, always a reason, a delay within its bounds, and no
// valid token from garbage.
func FuzzAnswer(f *testing.F) {
	f.Add(200, `{"total_count":1,"runners":[{"id":1,"name":"a","labels":[null]}]}`, "5000", "0", "1700000000", "3", "Mon, 02 Jan 2006 15:04:05 GMT")
	f.Add(403, `{"message":"API rate limit exceeded"}`, "60", "0", "-1", "Mon, 02 Jan 2006 15:04:05 GMT", "")
	f.Add(422, `{"message":17}`, "x", "", "99999999999999999999", "-1", "x")
	f.Add(304, ``, "", "", "", "", "")
	f.Fuzz(func(t *testing.T, status int, body, limit, remaining, reset, retry, date string) {
		if status < 200 || status > 999 {
			status = 200
		}
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for k, v := range map[string]string{
				"X-RateLimit-Limit": limit, "X-RateLimit-Remaining": remaining, "X-RateLimit-Reset": reset, "Retry-After": retry, "Date": date,
			} {
				w.Header().Set(k, v)
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		})
		c, err := New(Options{Token: staticToken(testToken), Transport: direct{h}, Scopes: []Scope{mustScope(t, "octo")}})
		if err != nil {
			t.Fatal(err)
		}
		list, err := c.Runners(t.Context(), mustScope(t, "octo"))
		s := c.Snapshot()
		if err == nil {
			for _, r := range list {
				if r.ID == 0 || r.Name == "" {
					t.Errorf("%+v", r)
				}
			}
			return
		}
		var e *runner.Error
		if !errors.As(err, &e) || s.Failures[e.Reason] != 1 || e.RetryAfter < 0 || e.RetryAfter > maxLimitWait || strings.ContainsAny(e.Error(), "\r\n") {
			t.Errorf("%#v", err)
		}
		if s.Credential.Valid && status < 400 {
			t.Errorf("valid by status %d with %v", status, err)
		}
	})
}

func TestCredential(t *testing.T) {
	expiry := time.Date(2030, 1, 31, 23, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		scope  string
		header map[string]string
		want   runner.Credential
	}{
		"fine-grained": {
			"octo/hello", map[string]string{expiryHeader: "2030-01-31 23:00:00 UTC"},
			runner.Credential{Known: true, Valid: true, PermissionKnown: true, PermissionSufficient: true, Expiry: expiry},
		},
		"app, no expiry": {
			"octo/hello", nil,
			runner.Credential{Known: true, Valid: true, PermissionKnown: true, PermissionSufficient: true},
		},
		"classic": {
			"octo/hello", map[string]string{"X-OAuth-Scopes": "gist, repo", expiryHeader: "2030-02-01 00:00:00 +0100"},
			runner.Credential{Known: true, Valid: true, PermissionKnown: true, PermissionSufficient: true, Expiry: expiry},
		},
		"classic, implied": {
			"octo", map[string]string{"X-OAuth-Scopes": "admin:org", "X-Accepted-OAuth-Scopes": "manage_runners:org"},
			runner.Credential{Known: true, Valid: true, PermissionKnown: true, PermissionSufficient: true},
		},
		"classic, enterprise": {
			"enterprises/acme", map[string]string{"X-OAuth-Scopes": "manage_runners:enterprise"},
			runner.Credential{Known: true, Valid: true, PermissionKnown: true, PermissionSufficient: true},
		},
		"classic, too little": {
			"octo/hello", map[string]string{"X-OAuth-Scopes": "public_repo, read:org"},
			runner.Credential{Known: true, Valid: true, PermissionKnown: true},
		},
		"classic, too little by the endpoint": {
			"octo", map[string]string{"X-OAuth-Scopes": "repo", "X-Accepted-OAuth-Scopes": "admin:org"},
			runner.Credential{Known: true, Valid: true, PermissionKnown: true},
		},
		"classic without scopes": {
			"octo/hello", map[string]string{"X-OAuth-Scopes": ""},
			runner.Credential{Known: true, Valid: true, PermissionKnown: true, PermissionSufficient: true},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFakeGitHub(1)
			maps.Copy(f.header, tc.header)
			scope := mustScope(t, tc.scope)
			c := newClient(t, f, func(o *Options) { o.Scopes = []Scope{scope} })
			for range 2 { // the second time by a 304
				if _, err := c.Runners(t.Context(), scope); err != nil {
					t.Fatal(err)
				}
				got := c.Snapshot().Credential
				if time.Since(got.LastCheck).Abs() > time.Minute {
					t.Errorf("last check %v", got.LastCheck)
				}
				if got.LastCheck = (time.Time{}); got != tc.want {
					t.Errorf("got %+v, want %+v", got, tc.want)
				}
			}
		})
	}
}

// The permission is sufficient if it is for both scopes, and insufficient if it is for one.
func TestCredentialOfTwoScopes(t *testing.T) {
	f := newFakeGitHub(1)
	a, b := mustScope(t, "octo/a"), mustScope(t, "octo/b")
	c := newClient(t, f, func(o *Options) { o.Scopes = []Scope{a, b} })
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/b/") {
			w.Header().Set("X-Accepted-GitHub-Permissions", "administration=read")
			fail(w, 403, "Resource not accessible by personal access token")
			return true
		}
		return false
	}
	check := func(s Scope, known, sufficient bool) {
		t.Helper()
		_, _ = c.Runners(t.Context(), s)
		if got := c.Snapshot().Credential; got.PermissionKnown != known || got.PermissionSufficient != sufficient {
			t.Errorf("%+v", got)
		}
	}
	check(a, false, false)
	check(b, true, false)
	f.do(func() { f.before = nil })
	check(b, true, true)
}

// TestCredentialOverTime follows one token through a dead network, its expiry and its replacement.
func TestCredentialOverTime(t *testing.T) {
	f := newFakeGitHub(1)
	expiry := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	f.header[expiryHeader] = expiry.Format("2006-01-02 15:04:05 MST")
	token := testToken
	c := newClient(t, f, func(o *Options) { o.Token = func() (string, error) { return token, nil } })
	list := func() error { _, err := c.Runners(t.Context(), mustScope(t, "octo/hello")); return err }
	check := func(what string, want runner.Credential) {
		t.Helper()
		got := c.Snapshot().Credential
		got.LastCheck = time.Time{}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	if err := list(); err != nil {
		t.Fatal(err)
	}
	good := runner.Credential{Known: true, Valid: true, PermissionKnown: true, PermissionSufficient: true, Expiry: expiry}
	check("accepted", good)
	f.do(func() { delete(f.header, expiryHeader) }) // a 304 need not repeat it
	if err := list(); err != nil || c.Snapshot().Requests["304"] != 1 {
		t.Fatal(err, c.Snapshot().Requests)
	}
	check("not modified", good)

	for _, h := range []http.HandlerFunc{
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		func(w http.ResponseWriter, _ *http.Request) { fail(w, 502, "Bad Gateway") },
		func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusProxyAuthRequired) },
	} {
		f.do(func() { f.before = func(w http.ResponseWriter, r *http.Request) bool { h(w, r); return true } })
		if err := list(); err == nil {
			t.Fatal("no error")
		}
		check("network", good)
	}

	// Rejected before its expiry, then after it by GitHub's clock.
	f.do(func() { f.before, f.token = nil, "another" })
	var e *runner.Error
	if err := list(); !errors.As(err, &e) || !strings.Contains(e.Hint, "revoked") || strings.Contains(e.Hint, "mistyped") {
		t.Errorf("%v, %+v", err, e)
	}
	rejected := good
	rejected.Valid = false
	check("rejected", rejected)
	f.do(func() { f.skew = 2 * time.Hour })
	if err := list(); !errors.As(err, &e) || !strings.Contains(e.Hint, "expired at") {
		t.Errorf("%v, %+v", err, e)
	}

	// Nothing of the old token remains.
	token = "wrong"
	if err := list(); !errors.As(err, &e) || !strings.Contains(e.Hint, "mistyped") {
		t.Errorf("%v, %+v", err, e)
	}
	check("another one rejected", runner.Credential{Known: true})
	token = "another"
	if err := list(); err != nil {
		t.Fatal(err)
	}
	check("replaced", runner.Credential{Known: true, Valid: true, PermissionKnown: true, PermissionSufficient: true})
}
