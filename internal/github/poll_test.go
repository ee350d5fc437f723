package github

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// bubble runs Poll in fake time against a GitHub without sockets.
type bubble struct {
	t     *testing.T
	f     *fakeGitHub
	c     *Client
	token atomic.Pointer[string] // nil: cannot be read
	more  atomic.Pointer[[]Scope]
	log   bytes.Buffer // read only after the poll has ended or waits
	began time.Time
	times []time.Duration // of each request
}

func runBubble(t *testing.T, scopes []string, prepare func(b *bubble), test func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{t: t, f: newFakeGitHub(2), began: time.Now()}
		b.f.onRequest = func(*http.Request) { b.times = append(b.times, time.Since(b.began).Round(time.Second)) }
		b.setToken(testToken)
		var list []Scope
		for _, s := range scopes {
			list = append(list, mustScope(t, s))
		}
		if prepare != nil {
			prepare(b)
		}
		c, err := New(Options{
			Token: func() (string, error) {
				if p := b.token.Load(); p != nil {
					return *p, nil
				}
				return "", errors.New("open /run/secrets/github_pat: no such file or directory")
			},
			Scopes: list, MoreScopes: func() []Scope {
				if p := b.more.Load(); p != nil {
					return *p
				}
				return nil
			},
			Transport: direct{b.f}, Logger: slog.New(slog.NewTextHandler(&b.log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		b.c = c
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := c.Poll(ctx); err != nil {
				t.Error(err)
			}
		})
		test(b)
		cancel()
		wg.Wait()
		if strings.Contains(b.log.String(), testToken) {
			t.Error("the token is in the log")
		}
	})
}

func (b *bubble) alsoPoll(scopes ...string) {
	list := []Scope{{}} // which is none, and ignored
	for _, s := range scopes {
		list = append(list, mustScope(b.t, s))
	}
	b.more.Store(&list)
}

// scopes are the names of what is polled, in order.
func (b *bubble) scopes() (names []string) {
	for _, s := range b.c.Snapshot().Scopes {
		names = append(names, s.Name)
	}
	return names
}

func (b *bubble) setToken(s string) { b.token.Store(&s) }

func (b *bubble) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// requests returns the times of the requests since the last call.
func (b *bubble) requests() []time.Duration {
	b.f.mu.Lock()
	defer b.f.mu.Unlock()
	out := b.times
	b.times = nil
	return out
}

func (b *bubble) logged(s string) int { return strings.Count(b.log.String(), s) }

func (b *bubble) scope(i int) runner.Scope { return b.c.Snapshot().Scopes[i] }

func (b *bubble) refuse(status int, message string, header ...string) {
	b.f.do(func() {
		b.f.before = func(w http.ResponseWriter, _ *http.Request) bool {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			fail(w, status, message)
			return true
		}
	})
}

func (b *bubble) accept() { b.f.do(func() { b.f.before = nil }) }

func TestPollAnHour(t *testing.T) {
	runBubble(t, []string{"octo/hello", "octo", "enterprises/acme"}, nil, func(b *bubble) {
		if s := b.c.Snapshot(); !b.scope(0).LastAttempt.IsZero() && b.scope(0).Up || s.Credential.Known {
			b.t.Errorf("before the first answer: %+v", s)
		}
		synctest.Wait()
		for i := range 3 {
			if s := b.scope(i); !s.Up || len(s.Runners) != 2 || s.LastError != nil || !s.LastSuccess.Equal(b.began) {
				b.t.Errorf("%+v", s)
			}
		}
		first, _ := b.f.count()
		b.sleep(time.Hour)
		counted, all := b.f.count()
		if counted != first || first != 3 || all < 3*114 || all > 3*127 {
			b.t.Errorf("%d of %d requests counted, %d in the first round", counted, all, first)
		}
		s := b.c.Snapshot()
		if s.Requests["200"] != 3 || s.Requests["304"] != uint64(all-3) || time.Since(s.Scopes[0].LastSuccess) > 32*time.Second {
			b.t.Errorf("%+v", s)
		}
		old := b.scope(0).Runners
		b.f.do(func() { b.f.runners[1].Status = "offline" })
		b.sleep(time.Minute)
		if got := b.scope(0).Runners[1].Status; got != "offline" || old[1].Status != "online" {
			b.t.Errorf("%s; a snapshot that was handed out says %s", got, old[1].Status)
		}
		b.sleep(6 * time.Hour)
		if counted, _ := b.f.count(); counted != 9 { // first, changed, full check
			b.t.Errorf("%d requests counted", counted)
		}
		if b.log.Len() != 0 {
			b.t.Error(b.log.String())
		}
	})
}

// TestPollTenThousand has as many runners as an organization can have.
func TestPollTenThousand(t *testing.T) {
	const runners = maxPages * pageSize
	runBubble(t, []string{"octo"}, func(b *bubble) { b.f.runners = newFakeGitHub(runners).runners }, func(b *bubble) {
		synctest.Wait()
		if counted, all := b.f.count(); counted > 100 || all > 100 || len(b.scope(0).Runners) != runners {
			b.t.Errorf("first round: %d requests, %d counted, %d runners", all, counted, len(b.scope(0).Runners))
		}
		b.sleep(90 * time.Second)
		counted, all := b.f.count()
		if s := b.scope(0); counted != 100 || all < 300 || !s.Up || len(s.Runners) != runners || time.Since(s.LastSuccess) > 32*time.Second {
			b.t.Errorf("%d requests, %d counted, %d runners", all, counted, len(s.Runners))
		}
		b.f.do(func() { b.f.runners[5050].Busy = true })
		b.sleep(time.Minute)
		busy := slices.ContainsFunc(b.scope(0).Runners, func(r runner.Registration) bool { return r.Busy })
		if counted, _ := b.f.count(); counted != 101 || !busy {
			b.t.Errorf("%d requests counted after one runner changed, seen: %v", counted, busy)
		}
	})
}

// TestPollMoreScopes adds and removes scopes during Poll.
func TestPollMoreScopes(t *testing.T) {
	runBubble(t, []string{"octo/hello"}, nil, func(b *bubble) {
		want := func(names ...string) {
			b.t.Helper()
			if d := cmp.Diff(names, b.scopes()); d != "" {
				b.t.Error(d)
			}
			for i := range names {
				if s := b.scope(i); !s.Up || len(s.Runners) != 2 {
					b.t.Errorf("%+v", s)
				}
			}
		}
		b.sleep(7 * time.Second)
		want("octo/hello")
		b.alsoPoll("zeta", "Octo/Hello", "enterprises/acme", "zeta", "ZETA")
		b.sleep(5 * time.Second)
		want("octo/hello", "enterprises/acme", "ZETA")
		b.alsoPoll("zeta")
		b.sleep(5 * time.Second)
		want("octo/hello", "zeta")
		counted, _ := b.f.count()
		b.sleep(time.Hour)
		if now, _ := b.f.count(); now != counted {
			b.t.Errorf("%d requests counted in an hour without a change", now-counted)
		}
		if b.log.Len() != 0 {
			b.t.Error(b.log.String())
		}

		// The permission is insufficient until the scope is removed.
		b.f.do(func() {
			b.f.before = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/forbidden/") {
					return false
				}
				w.Header().Set("X-Accepted-GitHub-Permissions", "organization_self_hosted_runners=read")
				fail(w, 403, "Resource not accessible by personal access token")
				return true
			}
		})
		b.alsoPoll("forbidden", "zeta")
		b.sleep(5 * time.Second)
		if got := b.c.Snapshot().Credential; !got.Valid || got.PermissionSufficient || b.scope(1).Up || !b.scope(2).Up {
			b.t.Errorf("%+v %v", got, b.scopes())
		}
		b.alsoPoll()
		b.sleep(5 * time.Second)
		want("octo/hello")
		if got := b.c.Snapshot().Credential; !got.PermissionSufficient {
			b.t.Errorf("%+v", got)
		}

		var many []string
		for i := range 2 * MaxScopes {
			many = append(many, fmt.Sprintf("org-%03d", i))
		}
		b.alsoPoll(many...)
		b.sleep(10 * time.Minute)
		want(append([]string{"octo/hello"}, many[:MaxScopes-1]...)...)
		if b.logged("Too many GitHub scopes") != 1 {
			b.t.Error(b.log.String())
		}
	})
}

// A new scope is not asked for with a rejected token.
func TestPollMoreScopesWaits(t *testing.T) {
	runBubble(t, []string{"octo/hello"}, func(b *bubble) { b.refuse(401, "Bad credentials") }, func(b *bubble) {
		for i := range 50 {
			b.alsoPoll(fmt.Sprintf("org-%d", i))
			b.sleep(10 * time.Second)
		}
		want := []time.Duration{0, time.Minute, 3 * time.Minute, 7 * time.Minute}
		if d := cmp.Diff(want, b.requests()); d != "" {
			b.t.Error(d)
		}
	})
}

// The log distinguishes an expired token from a revoked and from an unknown one.
func TestPollLogsWhyTheTokenIsRejected(t *testing.T) {
	const (
		layout = "2006-01-02 15:04:05 -0700"
		in2010 = 3653 * 24 * time.Hour // in a bubble it is 2000, when there was no GitHub
		zone   = 2 * 3600
		aPoll  = 33 * time.Second // until the next poll
	)
	for name, tc := range map[string]struct {
		expiry   time.Duration // after the beginning; 0: GitHub states none
		rejected time.Duration // a second before that GitHub begins to reject
		skew     time.Duration // of GitHub's clock against ours
		says     string
	}{
		"expired":                             {time.Hour, time.Hour + 2*time.Second, 0, "the token expired at 2010-01-01T01:00:00Z"},
		"revoked":                             {2 * time.Hour, time.Hour, 0, "before its expiry at 2010-01-01T02:00:00Z: it was revoked"},
		"expired, our clock eight hours slow": {8*time.Hour + time.Minute, time.Minute + 2*time.Second, 8 * time.Hour, "the token expired at 2010-01-01T08:01:00Z"},
		"revoked, our clock eight hours fast": {time.Hour, 2 * time.Hour, -8 * time.Hour, "it was revoked"},
		"no expiry":                           {0, time.Hour, 0, "it is mistyped, revoked or expired"},
	} {
		t.Run(name, func(t *testing.T) {
			runBubble(t, []string{"octo/hello"}, func(b *bubble) {
				b.f.skew = in2010 + tc.skew
				if tc.expiry != 0 {
					b.f.header[expiryHeader] = b.began.Add(in2010 + tc.expiry).In(time.FixedZone("", zone)).Format(layout)
				}
			}, func(b *bubble) {
				b.sleep(tc.rejected - time.Second)
				if b.log.Len() != 0 {
					b.t.Error(b.log.String())
				}
				b.f.do(func() { b.f.token, b.f.header = "another", nil })
				b.sleep(aPoll)
				if b.logged(tc.says) != 1 {
					b.t.Errorf("not said: %s\n%s", tc.says, b.log.String())
				}
			})
		})
	}
}

// A rejected token is asked with rarely, a new one at once.
func TestPollRejected(t *testing.T) {
	runBubble(t, []string{"octo/hello", "octo"}, func(b *bubble) { b.refuse(401, "Bad credentials") }, func(b *bubble) {
		b.sleep(time.Hour)
		// One request for both scopes each time: 1, 2, 4, 8, 10, 10, ... min.
		want := []time.Duration{0, 60, 180, 420, 900, 1500, 2100, 2700, 3300}
		for i := range want {
			want[i] *= time.Second
		}
		if d := cmp.Diff(want, b.requests()); d != "" {
			b.t.Error(d)
		}
		s := b.c.Snapshot()
		if !s.Credential.Known || s.Credential.Valid || s.Scopes[0].Up || s.Failures[runner.ReasonAuth] != 9 || b.logged("GitHub poll failed") != 1 {
			b.t.Errorf("%+v %s", s, b.log.String())
		}
		b.f.do(func() { b.f.before, b.f.token = nil, "new" })
		b.setToken("new\n")
		b.sleep(5 * time.Second)
		if s := b.c.Snapshot(); !s.Credential.Valid || !s.Scopes[0].Up || !s.Scopes[1].Up {
			b.t.Errorf("%+v", s)
		}
		// A token that worked before is rejected: every scope is down, also one that was not asked.
		b.refuse(401, "Bad credentials")
		b.sleep(time.Minute)
		if s := b.c.Snapshot(); s.Scopes[0].Up || s.Scopes[1].Up || s.Scopes[1].LastError == nil || len(s.Scopes[1].Runners) != 2 {
			b.t.Errorf("%+v", s)
		}
		if b.logged("GitHub token changed") != 1 || b.logged("GitHub answers again") != 1 {
			b.t.Error(b.log.String())
		}
	})
}

// wrongClocks are how far GitHub's clock is ahead: of a machine that has drifted, that slept, or
// that has the wrong time zone in its hardware clock.
var wrongClocks = []time.Duration{0, -10 * time.Minute, 10 * time.Minute, -time.Hour, time.Hour, -8 * time.Hour, 8 * time.Hour}

// The delay is Retry-After, else until the reset, else it grows, whatever the local clock says.
func TestPollLimited(t *testing.T) {
	for _, skew := range wrongClocks {
		runBubble(t, []string{"octo/hello", "octo"}, func(b *bubble) {
			b.f.skew = skew
			b.refuse(403, "You have exceeded a secondary rate limit", "Retry-After", "100")
		}, func(b *bubble) {
			b.sleep(99 * time.Second)
			reset := strconv.FormatInt(b.began.Add(skew+20*time.Minute).Unix(), 10)
			b.refuse(429, "", "X-RateLimit-Remaining", "0", "X-RateLimit-Limit", "5000", "X-RateLimit-Reset", reset)
			b.sleep(time.Minute) // 159
			b.refuse(429, "")
			b.sleep(20*time.Minute - 159*time.Second + 18*time.Minute) // 38 min
			b.accept()
			want := []time.Duration{0, 100, 1201, 1201 + 240, 1201 + 240 + 480}
			for i := range want {
				want[i] *= time.Second
			}
			if d := cmp.Diff(want, b.requests()); d != "" {
				b.t.Errorf("skew %v: %s", skew, d)
			}
			b.sleep(20 * time.Minute)
			if s := b.c.Snapshot(); !s.Scopes[0].Up || !s.Scopes[1].Up || s.Credential.Known && !s.Credential.Valid {
				b.t.Errorf("%+v", s)
			}
		})
	}
}

// If others have used up the quota while our own requests are free, polling continues, whatever the
// local clock says about the reset.
func TestPollNothingRemains(t *testing.T) {
	for _, skew := range wrongClocks {
		runBubble(t, []string{"octo/hello"}, func(b *bubble) {
			b.f.skew = skew
			b.f.header["X-RateLimit-Limit"], b.f.header["X-RateLimit-Remaining"] = "5000", "0"
			b.f.header["X-RateLimit-Reset"] = strconv.FormatInt(b.began.Add(skew+time.Hour).Unix(), 10)
		}, func(b *bubble) {
			b.sleep(10 * time.Minute)
			if s := b.scope(0); !s.Up || time.Since(s.LastSuccess) > 32*time.Second {
				b.t.Errorf("GitHub's clock ahead by %v: %+v", skew, s)
			}
		})
	}
}

// A GitHub Enterprise Server has no quota by default, and no headers of one.
func TestPollWithoutLimits(t *testing.T) {
	runBubble(t, []string{"octo/hello"}, nil, func(b *bubble) {
		b.sleep(time.Minute)
		if s := b.c.Snapshot(); !s.Scopes[0].Up || len(s.RateLimits) != 0 {
			b.t.Errorf("%+v", s)
		}
	})
}

// TestPollFailures checks, for the other reasons, the requests in ten minutes, and that the runners
// of the last success are kept.
func TestPollFailures(t *testing.T) {
	tests := map[string]struct {
		status   int
		header   []string
		reason   string
		min, max int
	}{
		"permission": {403, nil, runner.ReasonPermission, 6, 8},
		"not found":  {404, nil, runner.ReasonNotFound, 6, 8},
		"server":     {502, nil, runner.ReasonServer, 10, 12},
		"maintained": {503, []string{"Retry-After", "200"}, runner.ReasonServer, 3, 3},
		"invalid":    {418, nil, runner.ReasonInvalid, 6, 8},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			runBubble(t, []string{"octo/hello"}, nil, func(b *bubble) {
				b.sleep(time.Second)
				b.refuse(tc.status, "no", tc.header...)
				b.requests()
				b.sleep(10 * time.Minute)
				if n := len(b.requests()); n < tc.min || n > tc.max {
					b.t.Errorf("%d requests", n)
				}
				s := b.scope(0)
				var e *runner.Error
				if s.Up || !errors.As(s.LastError, &e) || e.Reason != tc.reason || len(s.Runners) != 2 || time.Since(s.LastSuccess) < 9*time.Minute {
					b.t.Errorf("%+v", s)
				}
				if b.logged("GitHub poll failed") != 1 {
					b.t.Error(b.log.String())
				}
				b.accept()
				b.sleep(4 * time.Minute)
				if s := b.scope(0); !s.Up || s.LastError != nil || b.logged("answers again") != 1 {
					b.t.Errorf("%+v %s", s, b.log.String())
				}
			})
		})
	}
}

// A new token is used at once, unless the user's quota is used up.
func TestPollNewToken(t *testing.T) {
	for status, want := range map[int]int{403: 1, 404: 1, 401: 1, 429: 0} {
		runBubble(t, []string{"octo/hello"}, func(b *bubble) { b.refuse(status, "no") }, func(b *bubble) {
			b.sleep(4*time.Minute + 31*time.Second)
			b.requests()
			b.setToken("another")
			b.sleep(5 * time.Second)
			if n := len(b.requests()); n != want {
				b.t.Errorf("status %d: %d requests", status, n)
			}
		})
	}
}

// If the first token returns, its expiry is known again, which only a full answer states.
func TestPollTokenReturns(t *testing.T) {
	runBubble(t, []string{"octo/hello"}, func(b *bubble) {
		b.f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("If-None-Match") == "" {
				w.Header().Set(expiryHeader, "2030-01-31 23:00:00 UTC")
			}
			b.f.token = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			return false
		}
	}, func(b *bubble) {
		none := (*string)(nil)
		first, second := testToken, "another"
		for _, token := range []*string{&first, &second, &first, none, &first} {
			b.token.Store(token)
			b.sleep(10 * time.Minute)
			if got := b.c.Snapshot().Credential; got.Known == (token == nil) || got.Expiry.IsZero() == got.Known {
				b.t.Errorf("%+v", got)
			}
		}
	})
}

// One scope that fails does not affect the others.
func TestPollOneScopeFails(t *testing.T) {
	runBubble(t, []string{"octo/a", "octo/b"}, func(b *bubble) {
		b.f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/a/") {
				fail(w, 404, "Not Found")
				return true
			}
			return false
		}
	}, func(b *bubble) {
		b.sleep(10 * time.Minute)
		if a, s := b.scope(0), b.scope(1); a.Up || !s.Up || time.Since(s.LastSuccess) > 32*time.Second {
			b.t.Errorf("%+v %+v", a, s)
		}
		if n := len(b.requests()); n < 19+5 || n > 22+9 {
			b.t.Errorf("%d requests", n)
		}
	})
}

// deadNetwork fails every request.
type deadNetwork struct{ asked atomic.Int64 }

func (d *deadNetwork) RoundTrip(*http.Request) (*http.Response, error) {
	d.asked.Add(1)
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("network is unreachable")}
}

func TestPollNetworkDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deadNetwork{}
		c, err := New(Options{Token: staticToken(testToken), Scopes: []Scope{mustScope(t, "octo")}, Transport: d})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := c.Poll(ctx); err != nil {
			t.Fatal(err)
		}
		s := c.Snapshot()
		if n := d.asked.Load(); n < 19 || n > 22 || s.Failures[runner.ReasonNetwork] != uint64(n) || s.Credential.Known || s.Scopes[0].Up || !s.Clock.At.IsZero() {
			t.Errorf("asked %d times, %+v", n, s)
		}
	})
}

// Without a token, that is logged once, and nothing is asked until there is one.
func TestPollWithoutToken(t *testing.T) {
	runBubble(t, []string{"octo/hello"}, func(b *bubble) { b.token.Store(nil) }, func(b *bubble) {
		b.sleep(10 * time.Minute)
		s := b.c.Snapshot()
		if n := len(b.requests()); n != 0 || s.Credential.Known || s.Scopes[0].Up || s.Scopes[0].LastError == nil || b.logged("level=ERROR") != 1 {
			b.t.Errorf("%d requests, %+v, %s", n, s, b.log.String())
		}
		b.setToken(testToken)
		b.sleep(5 * time.Second)
		if s := b.c.Snapshot(); !s.Credential.Valid || !s.Scopes[0].Up || b.logged("token found") != 1 {
			b.t.Errorf("%+v %s", s, b.log.String())
		}
		b.token.Store(nil)
		b.sleep(time.Minute)
		if s := b.c.Snapshot(); s.Credential.Known || s.Scopes[0].Up || len(s.Scopes[0].Runners) != 2 || b.logged("level=ERROR") != 2 {
			b.t.Errorf("%+v %s", s, b.log.String())
		}
		b.setToken("") // an empty file is another complaint, once
		b.sleep(time.Minute)
		if b.logged("level=ERROR") != 3 {
			b.t.Error(b.log.String())
		}
	})
}

func TestPauseBetweenChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeGitHub(0)
		var times []time.Duration
		began := time.Now()
		f.before = func(w http.ResponseWriter, _ *http.Request) bool {
			times = append(times, time.Since(began))
			w.WriteHeader(http.StatusNoContent)
			return true
		}
		c, err := New(Options{Token: staticToken(testToken), Transport: direct{f}})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range int64(3) {
			wg.Go(func() {
				if err := c.DeleteRunner(t.Context(), mustScope(t, "octo"), i+1); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if d := cmp.Diff([]time.Duration{0, time.Second, 2 * time.Second}, times); d != "" {
			t.Error(d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := c.DeleteRunner(ctx, mustScope(t, "octo"), 9); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := c.DeleteRunner(t.Context(), mustScope(t, "octo"), 9); err != nil {
			t.Error(err)
		}
	})
}

// BenchmarkPoll measures one round over unchanged runners, all 304, without the network.
func BenchmarkPoll(b *testing.B) {
	for _, n := range []int{2, 1000, 10000} {
		b.Run(fmt.Sprintf("runners=%d", n), func(b *testing.B) {
			f := newFakeGitHub(n)
			scope := mustScope(b, "octo")
			fast := notModified{inner: direct{f}}
			c, err := New(Options{Token: staticToken(testToken), Scopes: []Scope{scope}, Transport: &fast})
			if err != nil {
				b.Fatal(err)
			}
			p := &poller{c: c, token: testToken}
			refresh := func() {
				if err := p.refresh(b.Context(), c.scopes[0]); err != nil {
					b.Fatal(err)
				}
			}
			refresh()
			b.ReportAllocs()
			for b.Loop() {
				refresh()
			}
			s := c.Snapshot()
			if len(s.Scopes[0].Runners) != n || s.Requests["200"] != uint64(max(1, n/pageSize)) {
				b.Errorf("%d runners, %v", len(s.Scopes[0].Runners), s.Requests)
			}
		})
	}
}

// notModified answers every conditional request with 304.
type notModified struct{ inner direct }

func (n *notModified) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("If-None-Match") == "" {
		return n.inner.RoundTrip(r)
	}
	return &http.Response{StatusCode: http.StatusNotModified, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}
