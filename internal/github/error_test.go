package github

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// TestReasons has all of GitHub's documented refusals, and answers that are not GitHub's.
func TestReasons(t *testing.T) {
	tests := map[string]struct {
		status     int
		header     map[string]string // a reset as a duration from the time of the answer
		body       string
		reason     string
		hint       string            // part of it
		retryAfter time.Duration     // within 10 s
		credential runner.Credential // without its times
	}{
		"bad credentials": {
			status: 401, body: `{"message":"Bad credentials"}`,
			reason: runner.ReasonAuth, hint: "token file", credential: runner.Credential{Known: true},
		},
		"login page": {
			status: 401, header: map[string]string{"Content-Type": "text/html"}, body: "<html>log in</html>",
			reason: runner.ReasonInvalid, hint: "not from GitHub",
		},
		"locked out": {
			status: 403, body: `{"message":"Maximum number of login attempts exceeded. Please try again later."}`,
			reason: runner.ReasonAuth, hint: "locked out",
		},
		"classic without scope": {
			status: 403, header: map[string]string{"X-OAuth-Scopes": "gist", "X-Accepted-OAuth-Scopes": "repo"},
			body:   `{"message":"Must have admin rights to Repository."}`,
			reason: runner.ReasonPermission, hint: "scope repo", credential: runner.Credential{Known: true, Valid: true, PermissionKnown: true},
		},
		"fine-grained without permission": {
			status: 403, header: map[string]string{"X-Accepted-GitHub-Permissions": "administration=read"},
			body:   `{"message":"Resource not accessible by personal access token"}`,
			reason: runner.ReasonPermission, hint: "administration=read", credential: runner.Credential{Known: true, Valid: true, PermissionKnown: true},
		},
		"app without permission": {
			status: 403, header: map[string]string{"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4999"},
			body:   `{"message":"Resource not accessible by integration"}`,
			reason: runner.ReasonPermission, hint: "Administration", credential: runner.Credential{Known: true, Valid: true, PermissionKnown: true},
		},
		"single sign-on": {
			status: 403, header: map[string]string{"X-GitHub-SSO": "required; url=https://github.com/orgs/o/sso?authorization_request=A"},
			body:   `{"message":"Resource protected by organization SAML enforcement."}`,
			reason: runner.ReasonPermission, hint: "Configure SSO", credential: runner.Credential{Known: true, Valid: true, PermissionKnown: true},
		},
		"single sign-on, hidden": {
			status: 404, header: map[string]string{"X-GitHub-SSO": "required; url=https://github.com/orgs/o/sso?authorization_request=A"},
			body:   `{"message":"Not Found"}`,
			reason: runner.ReasonPermission, hint: "Configure SSO", credential: runner.Credential{Known: true, Valid: true, PermissionKnown: true},
		},
		"rejected after its expiry": {
			status: 401, header: map[string]string{expiryHeader: "2020-01-31 23:00:00 UTC"}, body: `{"message":"Bad credentials"}`,
			reason: runner.ReasonAuth, hint: "expired at 2020-01-31T23:00:00Z",
			credential: runner.Credential{Known: true, Expiry: time.Date(2020, 1, 31, 23, 0, 0, 0, time.UTC)},
		},
		"server gave up": { // after ten seconds of work
			status: 504, body: `{"message":"We couldn't respond to your request in time."}`, reason: runner.ReasonServer, hint: "githubstatus",
		},
		"missing user agent": {
			status: 403, body: "Request forbidden by administrative rules. Please make sure your request has a User-Agent header.",
			reason: runner.ReasonPermission,
		},
		"403 of a stranger": {
			status: 403, body: `nope`, reason: runner.ReasonPermission,
		},
		"not found or not visible": {
			status: 404, header: map[string]string{"X-OAuth-Scopes": "repo"}, body: `{"message":"Not Found"}`,
			reason: runner.ReasonNotFound, hint: "may not see it", credential: runner.Credential{Known: true, Valid: true},
		},
		"not visible for lack of scope": {
			status: 404, header: map[string]string{"X-OAuth-Scopes": "gist", "X-Accepted-OAuth-Scopes": "repo"}, body: `{"message":"Not Found"}`,
			reason: runner.ReasonNotFound, credential: runner.Credential{Known: true, Valid: true, PermissionKnown: true},
		},
		"404 of a stranger": {status: 404, body: `no such page`, reason: runner.ReasonNotFound, hint: "/api/v3"},
		"primary limit": {
			status: 403, header: map[string]string{
				"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "10m",
			},
			body:   `{"message":"API rate limit exceeded for user ID 1."}`,
			reason: runner.ReasonRateLimited, retryAfter: 10 * time.Minute, credential: runner.Credential{Known: true, Valid: true},
		},
		"primary limit, 429": {
			status: 429, header: map[string]string{
				"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "20m",
			},
			reason: runner.ReasonRateLimited, retryAfter: 20 * time.Minute, credential: runner.Credential{Known: true, Valid: true},
		},
		"secondary limit": {
			status: 403, header: map[string]string{"Retry-After": "90", "X-RateLimit-Remaining": "4000", "X-RateLimit-Reset": "1h"},
			body:   `{"message":"You have exceeded a secondary rate limit.","documentation_url":"https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`,
			reason: runner.ReasonRateLimited, retryAfter: 90 * time.Second,
		},
		"secondary limit without time": {
			status: 403, body: `{"message":"You have exceeded a secondary rate limit."}`, reason: runner.ReasonRateLimited,
		},
		"429 alone":            {status: 429, reason: runner.ReasonRateLimited},
		"absurd Retry-After":   {status: 429, header: map[string]string{"Retry-After": "99999999999"}, reason: runner.ReasonRateLimited, retryAfter: maxLimitWait},
		"negative Retry-After": {status: 429, header: map[string]string{"Retry-After": "-5"}, reason: runner.ReasonRateLimited},
		"past reset": {
			status: 429, header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "-1h"},
			reason: runner.ReasonRateLimited, retryAfter: minLimitWait,
		},
		"bad gateway":         {status: 502, body: `{"message":"Server Error"}`, reason: runner.ReasonServer, hint: "githubstatus"},
		"unavailable":         {status: 503, header: map[string]string{"Retry-After": "30"}, reason: runner.ReasonServer, retryAfter: 30 * time.Second},
		"unknown API version": {status: 400, body: `{"message":"unsupported version"}`, reason: runner.ReasonInvalid},
		"accepted":            {status: 202, body: `{}`, reason: runner.ReasonInvalid, hint: "not from GitHub"},
		"empty":               {status: 200, reason: runner.ReasonInvalid},
		"no list":             {status: 200, body: `{}`, reason: runner.ReasonInvalid, hint: "/api/v3"},
		"null":                {status: 200, body: `null`, reason: runner.ReasonInvalid},
		"runner without id":   {status: 200, body: `{"total_count":1,"runners":[{"name":"x"}]}`, reason: runner.ReasonInvalid},
		"null runner":         {status: 200, body: `{"total_count":1,"runners":[null]}`, reason: runner.ReasonInvalid},
		"garbage":             {status: 200, body: "\x00\xff<<<", reason: runner.ReasonInvalid},
		"cut short":           {status: 200, body: `{"total_count":1,"runners":[{"id":1,`, reason: runner.ReasonInvalid},
		"captive portal":      {status: 200, header: map[string]string{"Content-Type": "text/html"}, body: "<html>accept the terms</html>", reason: runner.ReasonInvalid},
		"304 unasked":         {status: 304, reason: runner.ReasonInvalid},
		"redirect away":       {status: 302, header: map[string]string{"Location": "http://elsewhere.invalid/"}, reason: runner.ReasonInvalid, hint: "redirect"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFakeGitHub(1)
			f.before = func(w http.ResponseWriter, _ *http.Request) bool {
				for k, v := range tc.header {
					if reset, err := time.ParseDuration(v); err == nil && k == "X-RateLimit-Reset" {
						v = strconv.FormatInt(time.Now().Add(reset).Unix(), 10)
					}
					w.Header().Set(k, v)
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
				return true
			}
			c := newClient(t, f, nil)
			_, err := c.Runners(t.Context(), mustScope(t, "octo/hello"))
			var e *runner.Error
			if !errors.As(err, &e) {
				t.Fatalf("%#v", err)
			}
			if e.Reason != tc.reason || !strings.Contains(e.Hint, tc.hint) || tc.hint == "" && tc.reason == runner.ReasonAuth {
				t.Errorf("reason %q, hint %q, error %v", e.Reason, e.Hint, e)
			}
			if d := e.RetryAfter - tc.retryAfter; d.Abs() > 10*time.Second || (e.RetryAfter == 0) != (tc.retryAfter == 0) {
				t.Errorf("retry after %v, want %v", e.RetryAfter, tc.retryAfter)
			}
			if e.Status != tc.status && tc.status != 304 || e.RequestID != "ABCD:1234" && tc.status != 304 {
				t.Errorf("status %d, request %q", e.Status, e.RequestID)
			}
			s := c.Snapshot()
			if s.Failures[tc.reason] != 1 || s.Requests[strconv.Itoa(tc.status)] != 1 {
				t.Errorf("failures %v, requests %v", s.Failures, s.Requests)
			}
			got := s.Credential
			if got.Known == got.LastCheck.IsZero() {
				t.Errorf("known %v, last check %v", got.Known, got.LastCheck)
			}
			got.LastCheck = time.Time{}
			if got != tc.credential {
				t.Errorf("credential %+v, want %+v", got, tc.credential)
			}
		})
	}
}

// go-github v60 refuses requests after an answer with nothing remaining, until the local clock
// passes the reset. Our requests must be sent.
func TestLimitIsNotRemembered(t *testing.T) {
	f := newFakeGitHub(150)
	f.header = map[string]string{
		"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "0", "X-RateLimit-Resource": "core",
		"X-RateLimit-Reset": strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10),
	}
	c := newClient(t, f, nil)
	for range 2 {
		if got, err := c.Runners(t.Context(), mustScope(t, "octo")); err != nil || len(got) != 150 {
			t.Fatal(len(got), err)
		}
	}
	want := runner.RateLimit{Resource: "core", Limit: 5000}
	got := c.Snapshot().RateLimits
	if len(got) != 1 || got[0].Reset.IsZero() || got[0].At.IsZero() {
		t.Fatal(got)
	}
	if got[0].Reset, got[0].At = (time.Time{}), (time.Time{}); got[0] != want {
		t.Errorf("%+v", got)
	}
}

// TestWrongClockWaits has GitHub's clock an hour away from ours.
func TestWrongClockWaits(t *testing.T) {
	for _, skew := range wrongClocks {
		f := newFakeGitHub(0)
		f.skew = skew
		f.before = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(skew+5*time.Minute).Unix(), 10))
			fail(w, 403, "API rate limit exceeded")
			return true
		}
		_, err := newClient(t, f, nil).Runners(t.Context(), mustScope(t, "octo"))
		var e *runner.Error
		if !errors.As(err, &e) || (e.RetryAfter-5*time.Minute).Abs() > 10*time.Second {
			t.Errorf("skew %v: %v, wait %v", skew, err, e.RetryAfter)
		}
	}
}

func TestNetworkDead(t *testing.T) {
	const closed = "http://127.0.0.1:1" // never assigned by chance
	c := newClient(t, newFakeGitHub(1), func(o *Options) { o.APIURL = closed })
	_, err := c.Runners(t.Context(), mustScope(t, "octo"))
	var e *runner.Error
	if !errors.As(err, &e) || e.Reason != runner.ReasonNetwork || e.Status != 0 {
		t.Fatal(err)
	}
	if s := c.Snapshot(); s.Credential.Known || s.Failures[runner.ReasonNetwork] != 1 {
		t.Errorf("%+v", s)
	}
}

func TestWrongCertificate(t *testing.T) {
	srv := httptest.NewUnstartedServer(newFakeGitHub(1))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	c := newClient(t, newFakeGitHub(1), func(o *Options) { o.APIURL = srv.URL })
	_, err := c.Runners(t.Context(), mustScope(t, "octo"))
	var e *runner.Error
	if !errors.As(err, &e) || e.Reason != runner.ReasonNetwork || !strings.Contains(e.Hint, "clock") {
		t.Fatal(err)
	}
}

func TestSlow(t *testing.T) {
	for name, before := range map[string]func(w http.ResponseWriter){
		"no header": func(http.ResponseWriter) {},
		"no end": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"total_`)
			_ = http.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeGitHub(1)
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				before(w)
				<-r.Context().Done()
				return true
			}
			c := newClient(t, f, func(o *Options) { o.Timeout = 100 * time.Millisecond })
			_, err := c.Runners(t.Context(), mustScope(t, "octo"))
			var e *runner.Error
			if !errors.As(err, &e) || e.Reason != runner.ReasonTimeout {
				t.Fatalf("%v", err)
			}
		})
	}
}

// TestHugeBody has an endless answer.
func TestHugeBody(t *testing.T) {
	f := newFakeGitHub(1)
	f.before = func(w http.ResponseWriter, _ *http.Request) bool {
		for block := bytes.Repeat([]byte{' '}, 1<<16); ; {
			if _, err := w.Write(block); err != nil {
				return true
			}
		}
	}
	_, err := newClient(t, f, nil).Runners(t.Context(), mustScope(t, "octo"))
	var e *runner.Error
	if !errors.As(err, &e) || e.Reason != runner.ReasonInvalid || !errors.Is(err, errTooLarge) {
		t.Fatal(err)
	}
}

// A redirect after a rename is followed, one to another host is not.
func TestRedirects(t *testing.T) {
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("request to another host, Authorization %q", r.Header.Get("Authorization"))
	}))
	defer thief.Close()
	f := newFakeGitHub(1)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasPrefix(r.URL.Path, "/repos/old/"):
			http.Redirect(w, r, "/repositories/1/actions/runners?"+r.URL.RawQuery, http.StatusMovedPermanently)
		case strings.HasPrefix(r.URL.Path, "/repos/evil/"):
			http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
		case r.Method == http.MethodDelete:
			http.Redirect(w, r, "/repos/octo/hello/actions/runners", http.StatusMovedPermanently)
		default:
			return false
		}
		return true
	}
	c := newClient(t, f, nil)
	if got, err := c.Runners(t.Context(), mustScope(t, "old/hello")); err != nil || len(got) != 1 {
		t.Error(got, err)
	}
	if _, err := c.Runners(t.Context(), mustScope(t, "evil/hello")); err == nil {
		t.Error("followed to another host")
	}
	if err := c.DeleteRunner(t.Context(), mustScope(t, "octo/hello"), 1); err == nil {
		t.Error("a deletion that became a read passed for done")
	}
}

// A page that is wrong and has an ETag must not be confirmed by a 304.
func TestBadPageIsNotCached(t *testing.T) {
	f := newFakeGitHub(1)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("ETag", `"x"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return true
		}
		_, _ = io.WriteString(w, `{}`)
		return true
	}
	c := newClient(t, f, nil)
	for range 2 {
		if _, err := c.Runners(t.Context(), mustScope(t, "octo")); err == nil {
			t.Fatal("no error")
		}
	}
	if got := c.Snapshot().Requests; got["304"] != 0 || got["200"] != 2 {
		t.Errorf("%v", got)
	}
}

// TestTokenStaysSecret has a server that sends the token back.
func TestTokenStaysSecret(t *testing.T) {
	f := newFakeGitHub(1)
	for _, status := range []int{200, 400, 401, 403, 404, 422, 429, 500} {
		f.before = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("X-GitHub-Request-Id", testToken)
			w.Header().Set("X-Accepted-GitHub-Permissions", testToken)
			// Once where the limit of the text cuts it, once before.
			fail(w, status, "you sent "+testToken+"\n\x1b[31m"+strings.Repeat("x", 235)+testToken)
			return true
		}
		c := newClient(t, f, nil)
		_, err := c.Runners(t.Context(), mustScope(t, "octo"))
		texts := []string{fmt.Sprintf("%v %+v %#v %+v", err, err, err, c.Snapshot())}
		for ; err != nil; err = errors.Unwrap(err) {
			texts = append(texts, fmt.Sprintf("%v %#v", err, err))
		}
		for _, text := range texts {
			if strings.Contains(text, testToken[:8]) || strings.ContainsAny(text, "\n\x1b") {
				t.Errorf("status %d: %s", status, text)
			}
		}
	}
	// A proxy's error that repeats the request.
	c := newClient(t, f, func(o *Options) {
		o.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("proxy refused %v", r.Header)
		})
	})
	if _, err := c.Runners(t.Context(), mustScope(t, "octo")); err == nil || strings.Contains(fmt.Sprintf("%v %#v", err, err), testToken) {
		t.Error(err)
	}
	c = newClient(t, f, func(o *Options) { o.Token = staticToken("two words " + testToken) })
	_, err := c.Runners(t.Context(), mustScope(t, "octo"))
	var e *runner.Error
	if !errors.As(err, &e) || e.Reason != runner.ReasonAuth || strings.Contains(err.Error(), testToken) {
		t.Error(err)
	}
}

// roundTrip makes a network of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
